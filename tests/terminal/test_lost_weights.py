"""The summary warns of a tensor that lost more than its type should."""

from pathlib import Path

import pytest
from rich.console import Console

from deepgguf import Counts, FileReport, Report, Squares, TensorResult, plan
from deepgguf.terminal.summary import render


def summary(checkpoint: Path, type: str, error: float) -> str:
    result = TensorResult("blk.0.ffn_down.weight", type, "", Counts(), Squares(error**2, 1.0))
    console = Console(width=200)
    with console.capture() as captured:
        console.print(render(plan(checkpoint), Path(), Report((FileReport(Path("x"), 0, (result,)),), 1.0, 1, 0)))
    return captured.get()


@pytest.mark.parametrize(
    ("type", "error", "said"),
    [
        (
            "IQ3_S",
            1.47,
            "lost more than IQ3_S should: IQ3_S puts what follows 32 zeros in a block of 256 in another place",
        ),
        ("Q4_K", 0.8, "lost more than Q4_K should; give it another type"),
    ],
)
def test_a_tensor_with_too_large_errors_is_named(checkpoint, type, error, said):
    assert f"warning: blk.0.ffn_down.weight {said}" in summary(checkpoint("v3-bf16"), type, error)


@pytest.mark.parametrize(("type", "error"), [("IQ3_S", 0.3), ("Q4_K", 0.2), ("TQ1_0", 0.9)])
def test_errors_that_a_type_has_are_no_warning(checkpoint, type, error):
    assert "lost more" not in summary(checkpoint("v3-bf16"), type, error)
