import ast
import importlib.resources
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import deepgguf
from deepgguf.choices import ConversionChoices, PatchChoices, QuantizationChoices, declared
from deepgguf.errors import DeepggufError
from deepgguf.files.local import LocalFiles

HEAVY = "[name for name in ('numpy', 'msgspec', 'rich', 'yaml', 'argparse', 'deepgguf.api') if name in sys.modules]"


def in_a_new_process(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def imported_for_type_checkers() -> dict[str, str]:
    """The module of every name under `if TYPE_CHECKING:`."""
    ifs = [node for node in ast.parse(Path(deepgguf.__file__).read_text()).body if isinstance(node, ast.If)]
    (block,) = [node for node in ifs if isinstance(node.test, ast.Name)]
    return {name.name: node.module for node in block.body for name in node.names}


def errors() -> list[type[DeepggufError]]:
    found = [getattr(deepgguf, name) for name in deepgguf.__all__]
    return [cls for cls in found if inspect.isclass(cls) and issubclass(cls, DeepggufError)]


def structs_in(value: object) -> set[type]:
    """The classes of the structs in a result, however deep."""
    if isinstance(value, msgspec.Struct):
        inner = [getattr(value, name) for name in value.__struct_fields__ if not callable(getattr(value, name))]
        return {type(value)}.union(*map(structs_in, inner))
    if isinstance(value, list | tuple):
        return set().union({type(value)} if hasattr(value, "_fields") else set(), *map(structs_in, value))
    if isinstance(value, dict):
        return set().union(*map(structs_in, value.values()))
    return set()


@pytest.fixture(scope="module")
def results(checkpoint, tmp_path_factory) -> list[object]:
    """One result of every public function."""
    folder = tmp_path_factory.mktemp("results")
    planned = deepgguf.plan(checkpoint("v3-fp8"), folder / "v3.gguf", type="q8_0")
    report = planned.run(measure_error=True)
    verified = deepgguf.verify(folder / "v3.gguf", checkpoint("v3-fp8"))
    every_type = deepgguf.plan_every_type(checkpoint("v3-fp8"))
    sample = deepgguf.sample("v2-lite", folder / "v2-lite")
    difference, address = deepgguf.Difference("file a", "differs", "1", "2"), deepgguf.S3Address("bucket", "prefix")
    (folder / "models").mkdir()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OLLAMA_MODELS", str(folder / "models"))
        into_ollama = planned.to_ollama("v3", way="store")
    found = deepgguf.doctor(folder / "v3.gguf")
    patched = deepgguf.patch(folder / "v3.gguf", folder / "patched.gguf", split_kv_b=True)
    return [
        planned,
        report,
        verified,
        every_type,
        sample,
        deepgguf.inspect(folder / "v3.gguf"),
        found,
        patched,
        difference,
        into_ollama,
        planned.modelfile(),
        address,
        deepgguf.Threads(2),
    ]


def test_importing_deepgguf_imports_nothing_heavy():
    assert in_a_new_process(f"import sys, deepgguf; print({HEAVY})") == "[]"


def test_help_imports_nothing_heavy():
    program = "import sys; from deepgguf.cli.arguments import parse\ntry: parse(['--help'])\nexcept SystemExit: pass\n"
    heavy = HEAVY.replace("'argparse', ", "")
    assert in_a_new_process(f"{program}print({heavy})").splitlines()[-1] == "[]"


def test_everything_public_is_imported_from_the_package():
    assert in_a_new_process("from deepgguf import *; print(Plan.__name__, CheckpointError.__name__)") == (
        "Plan CheckpointError"
    )
    for name in deepgguf.__all__:
        assert getattr(deepgguf, name) is not None
    assert dir(deepgguf) == sorted(deepgguf.__all__)


def test_what_type_checkers_see_is_what_there_is():
    assert imported_for_type_checkers() == deepgguf._HOME
    assert deepgguf._HOME.keys() < set(deepgguf.__all__)


def test_what_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'deepgguf' has no attribute 'nothing'"):
        deepgguf.nothing  # noqa: B018


@pytest.mark.parametrize("module", ["deepgguf.planning.build", "deepgguf.verification.run"])
def test_the_functions_keep_their_names_from_the_packages(module):
    program = f"import {module}, deepgguf; print(callable(deepgguf.plan), callable(deepgguf.verify))"
    assert in_a_new_process(program) == "True True"


def test_the_package_says_that_it_is_typed():
    assert importlib.resources.files("deepgguf").joinpath("py.typed").is_file()


def test_a_plan_in_python_is_that_of_the_command_line(checkpoint, tmp_path):
    planned = deepgguf.plan(checkpoint("v3-fp8"), tmp_path / "v3.gguf", type="q4_k_m")
    report = deepgguf.convert(checkpoint("v3-fp8"), tmp_path / "v3.gguf", type="q4_k_m")
    assert [file.path.stat().st_size for file in report.files] == [planned.size]
    assert deepgguf.verify(tmp_path / "v3.gguf", checkpoint("v3-fp8")).differences == ()
    assert deepgguf.inspect(tmp_path / "v3.gguf").architecture == planned.architecture


def test_a_plan_that_is_run_writes_what_convert_writes(checkpoint, tmp_path):
    deepgguf.plan(checkpoint("v2-lite"), tmp_path / "planned.gguf", type="q8_0").run(jobs=2)
    deepgguf.convert(checkpoint("v2-lite"), tmp_path / "converted.gguf", type="q8_0")
    assert (tmp_path / "planned.gguf").read_bytes() == (tmp_path / "converted.gguf").read_bytes()


class Counting:
    """The calling thread, which counts the tasks."""

    jobs, shares_files, tasks = 1, True, 0

    def map(self, work, tasks):
        for task in tasks:
            self.tasks += 1
            yield from work(task)


def test_an_executor_of_ones_own_does_the_work_and_makes_the_same_bytes(checkpoint, tmp_path):
    source, converting, running, verifying = checkpoint("v2-lite"), Counting(), Counting(), Counting()
    deepgguf.convert(source, tmp_path / "threads.gguf")
    deepgguf.convert(source, tmp_path / "convert.gguf", executor=converting)
    deepgguf.plan(source, tmp_path / "run.gguf").run(executor=running)
    deepgguf.verify(tmp_path / "run.gguf", source, executor=verifying)
    assert (tmp_path / "threads.gguf").read_bytes() == (tmp_path / "convert.gguf").read_bytes()
    assert (tmp_path / "threads.gguf").read_bytes() == (tmp_path / "run.gguf").read_bytes()
    assert converting.tasks == running.tasks + 1 > 1  # a plan reads the headers of each shard in a task of its own
    assert verifying.tasks > 0


def test_a_source_may_be_an_object(checkpoint, tmp_path):
    files = LocalFiles(checkpoint("v2-lite"))
    assert deepgguf.plan(files) == deepgguf.plan(checkpoint("v2-lite"))
    deepgguf.convert(files, tmp_path / "v2.gguf")
    assert deepgguf.verify(tmp_path / "v2.gguf", files).differences == ()


def test_progress_tells_of_every_byte(checkpoint, tmp_path):
    done: list[int] = []
    planned = deepgguf.plan(checkpoint("v2-lite"), tmp_path / "v2.gguf")
    planned.run(progress=done.append)
    assert sum(done) == sum(tensor.info.nbytes for file in planned.files for tensor in file.tensors)
    checked: list[int] = []
    deepgguf.verify(tmp_path / "v2.gguf", progress=checked.append)
    assert sum(checked) == sum(done)


def test_sizes_may_be_text_and_tensor_types_a_mapping(checkpoint):
    source = checkpoint("v3-fp8")
    assert deepgguf.plan(source, split_max_size="2M").files == deepgguf.plan(source, split_max_size=2_000_000).files
    mapping = deepgguf.plan(source, type="q4_k_m", tensor_types={"attn_kv_b": "q8_0", "ffn_down": "q6_k"})
    assert mapping == deepgguf.plan(source, type="q4_k_m", tensor_types=["attn_kv_b=q8_0", "ffn_down=q6_k"])


def test_one_tensor_type_may_be_text_alone(checkpoint):
    alone = deepgguf.plan(checkpoint("v3-fp8"), type="q4_k_m", tensor_types="attn_kv_b=q8_0")
    assert alone == deepgguf.plan(checkpoint("v3-fp8"), type="q4_k_m", tensor_types=["attn_kv_b=q8_0"])


def test_a_plan_of_every_type_reads_the_headers_by_an_executor_once(checkpoint):
    reading = Counting()
    assert deepgguf.plan_every_type(checkpoint("v2-lite"), executor=reading) == (
        deepgguf.plan_every_type(checkpoint("v2-lite"))
    )
    assert reading.tasks == 1


def test_none_is_the_default_of_what_may_be_left_out(checkpoint):
    left_out = {name: None for name, entry in declared(deepgguf.Choices).items() if entry.choice.default is None}
    assert deepgguf.plan(checkpoint("v2-lite"), **left_out) == deepgguf.plan(checkpoint("v2-lite"))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"type": "q4"}, "`type`: 'q4' is unknown; choose from auto, source, f32, "),
        ({"target": "vllm"}, "`target`: 'vllm' is unknown; choose from ollama, llama.cpp"),
        ({"tensor_types": ["a=q8_0"]}, '`tensor_types` has no meaning for `type="auto"`; choose a quantized `type`'),
        (
            {"type": "bf16", "output_tensor_type": "f32"},
            '`output_tensor_type` has no meaning for `type="bf16"`; choose a quantized `type`',
        ),
        (
            {"type": "bf16", "token_embedding_type": "f32"},
            '`token_embedding_type` has no meaning for `type="bf16"`; choose a quantized `type`',
        ),
        ({"split_max_size": "1K"}, "`split_max_size`: 1,000 bytes are too few for "),
        ({"split_max_size": 0}, "`split_max_size` must be at least 1, not 0"),
        ({"part": 2}, "`part`: there is no file 2, only 1 in all; give a number from 1 to 1"),
        ({"jobs": "4"}, "`jobs`: '4' is not a whole number; give a number from 1"),
        ({"type": "q8_0", "imatrix": "none.gguf"}, "none.gguf: no such file; give the path of an importance matrix"),
        ({"resume": True, "restart": True}, "`resume` contradicts `restart`; give one of them"),
    ],
)
def test_errors_name_choices_as_python_has_them(checkpoint, tmp_path, choices, message):
    with pytest.raises(deepgguf.UsageError) as error:
        deepgguf.convert(checkpoint("v3-fp8"), tmp_path / "v3.gguf", **choices)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("call", [deepgguf.plan, deepgguf.convert, deepgguf.plan_every_type])
def test_a_choice_that_does_not_exist_is_a_type_error(checkpoint, call):
    with pytest.raises(TypeError, match="'typ' is not a choice; choose from target, type, "):
        call(checkpoint("v2-lite"), typ="q8_0")


ALL = (ConversionChoices, QuantizationChoices, PatchChoices)


def test_every_choice_is_declared_with_a_line_of_help():
    assert all(entry.choice.help for of in ALL for entry in declared(of).values())


def test_every_error_is_a_deepgguf_error(tmp_path):
    for call in (deepgguf.plan, deepgguf.convert, deepgguf.inspect, deepgguf.verify):
        with pytest.raises(DeepggufError, match="nothing"):
            call(tmp_path / "nothing")


@pytest.mark.parametrize("cls", errors())
def test_every_error_comes_back_from_a_pickle(cls):
    where, found = Path("/models") / ("x" * 500), "holds\n" + 2000 * "y"
    for error in (cls(where, found, "advice"), cls("tensor a", "is missing")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is cls
        assert (again.where, again.found, again.advice) == (error.where, error.found, error.advice)
        assert str(again) == str(error)


def test_every_result_comes_back_from_a_pickle(results):
    for result in results:
        assert pickle.loads(pickle.dumps(result)) == result


def test_the_pickled_results_hold_every_public_class(results):
    public = {getattr(deepgguf, name) for name in deepgguf.__all__ if inspect.isclass(getattr(deepgguf, name))}
    shown = {cls for cls in public if issubclass(cls, msgspec.Struct) or hasattr(cls, "_fields")}
    assert shown <= structs_in(results)
