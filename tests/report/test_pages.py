"""The pages as a browser shows them, and as files."""

import re
from pathlib import Path

import msgspec
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import deepgguf
from browser import accessible, chromium, console, show
from deepgguf.report.facts import OutputFacts, ReportFacts, TensorFacts
from deepgguf.report.page import comparison_page, report_page

EVIL = "</script><script>document.title='ran'</script><img src=x onerror=1>\x1b[31m\u202egpj"
# Of a screen the parts that are wider than it, besides those that scroll by themselves.
TOO_WIDE = """
return [...document.querySelectorAll('main *')].filter(e => !e.closest('.wide') && !e.closest('.skip') &&
  e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 100))"""
# The contrast of text and what is behind it, as WCAG 2 computes it, of every element with text of its own.
CONTRASTS = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const light = color => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b; };
const clear = color => color === 'rgba(0, 0, 0, 0)';
const behind = e => { while (clear(getComputedStyle(e).backgroundColor)) e = e.parentElement; return e; };
return [...document.querySelectorAll('body *')]
  .filter(e => e.checkVisibility() && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
  .map(e => [light(getComputedStyle(e).color), light(getComputedStyle(behind(e)).backgroundColor), e.outerHTML])
  .map(([a, b, e]) => [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.slice(0, 90)])
  .filter(([contrast]) => contrast < 4.5)"""


@pytest.fixture(scope="module")
def driver():
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def pages(checkpoint, tmp_path_factory) -> Path:
    """A folder with a page of a run, of a verification and of a comparison."""
    folder, source = tmp_path_factory.mktemp("pages"), checkpoint("v3-fp8")
    for type in ("q4_k_m", "q2_k"):
        planned = deepgguf.plan(source, folder / f"{type}.gguf", type=type, target="llama.cpp")
        deepgguf.write_report(folder / f"{type}.html", planned, planned.run(measure_error=True))
    checked = deepgguf.verify(folder / "q4_k_m.gguf", source)
    deepgguf.write_report(folder / "verified.html", folder / "q4_k_m.gguf", checked)
    deepgguf.write_comparison(folder / "both.html", folder / "q4_k_m.html", folder / "q2_k.html")
    return folder


def like_v3(**facts: object) -> ReportFacts:
    """Facts with as many tensors as DeepSeek-V3 has in llama.cpp's layout, every second of another type."""
    roles = [f"attn_{n}" for n in range(9)] + [f"ffn_{n}_exps" for n in range(9)]
    tensors = tuple(
        TensorFacts(f"blk.{n}.{role}.weight", "F8_E4M3", "Q4_K" if n % 2 else "Q6_K", 7168**2, 29_000_000, n / 1e4)
        for n in range(61)
        for role in roles
    )
    file = OutputFacts("v3.gguf", sum(t.nbytes for t in tensors), 1, len(tensors), 1, "0" * 64)
    facts = {"title": "V3", "files": (file,), "tensors": tensors} | facts
    return ReportFacts(**({"kind": "file", "architecture": "deepseek2", "target": "", "type": "Q4_K_M"} | facts))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("page", ["q4_k_m", "verified", "both"])
def test_a_page_is_readable_at_every_width_in_both_themes(driver, pages, page, width, theme):
    show(driver, pages / f"{page}.html", width, theme)
    assert console(driver) == []
    assert driver.execute_script("return document.documentElement.scrollWidth") == width
    assert driver.execute_script(TOO_WIDE) == []
    assert driver.execute_script(CONTRASTS) == []


def test_a_page_loads_nothing_and_runs_nothing(driver, pages):
    show(driver, pages / "q4_k_m.html")
    loaded = "return performance.getEntriesByType('resource').map(e => e.name).filter(name => name !== 'data:,')"
    assert driver.execute_script(loaded) == []
    assert driver.execute_script("return [...document.scripts].map(e => e.type)") == ["application/json"]


def test_a_screen_reader_hears_which_blocks_have_which_type(driver, pages):
    show(driver, pages / "q4_k_m.html")
    assert accessible(driver, "image")[:2] == ["Q4_K in 1; Q6_K in 2", "Q4_K in 1–2"]
    assert accessible(driver, "heading")[:4] == [
        "v3-fp8", "Where the bytes go", "Bits per weight", "Quantization error"
    ]  # fmt: skip
    assert "ffn_gate_exps, 442 kB, 18.9%" in accessible(driver, "link")


def test_the_keyboard_reaches_a_part_and_leads_to_its_line_in_the_table(driver, pages):
    show(driver, pages / "q4_k_m.html")
    body = driver.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB, Keys.TAB)
    focused = driver.switch_to.active_element
    assert focused.get_attribute("aria-label").startswith("ffn_down_exps, ")
    focused.send_keys(Keys.ENTER)
    assert driver.find_element(By.CSS_SELECTOR, "tr:target").text.startswith("ffn_down_exps 544 kB")


def test_what_a_file_holds_is_text_and_nothing_else(driver, tmp_path):
    facts = like_v3(
        title=EVIL,
        architecture=EVIL,
        tensors=(TensorFacts(f"blk.0.{EVIL}", EVIL, EVIL, 8, 8, 0.5, EVIL), TensorFacts(EVIL, EVIL, EVIL, 8, 8)),
        warnings=(EVIL,),
        provenance=((EVIL, EVIL),),
        keys=((EVIL, EVIL),),
    )
    for name, page in (("one", report_page(facts)), ("two", comparison_page(facts, like_v3()))):
        (tmp_path / f"{name}.html").write_text(page, "utf-8")
        show(driver, tmp_path / f"{name}.html")
        assert "<script>document.title='ran'</script>" in driver.title  # text, which has not run
        assert driver.execute_script("return document.images.length + document.scripts.length") == (name == "one")
        assert console(driver) == []
    assert "\x1b" not in page and "\u202e" not in page


def test_a_page_of_deepseek_v3_is_smaller_than_a_megabyte():
    assert len(report_page(like_v3()).encode()) < 1_000_000


def test_a_page_of_more_tensors_than_any_model_has_stays_readable():
    tensors = tuple(TensorFacts(f"t{n}.weight", "", "F32", n, 4 * n) for n in range(1, 30_001))
    page = report_page(like_v3(tensors=tensors))
    assert page.count('<tr id="part-') == 201
    assert "all others" in page


def test_a_page_has_its_facts_in_it_so_that_reports_can_be_compared(pages):
    page = (pages / "both.html").read_text("utf-8")
    rows = [" ".join(re.sub("<[^>]+>", " ", row).split()) for row in re.findall("<tr>.*?</tr>", page)]
    assert "size 2.36 MB 1.52 MB −35.8%" in rows
    assert "ffn_gate_exps Q4_K → Q2_K 442 kB → 258 kB 7.47% → 41.2% 2 1–2" in rows
    assert "general.file_type 15 10" in rows


def test_the_same_facts_make_the_same_page():
    assert report_page(like_v3()) == report_page(msgspec.structs.replace(like_v3()))
