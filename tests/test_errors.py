"""An unknown name is answered with the nearest ones, or with some where none is near."""

import pytest

from ppgn.errors import unknown


@pytest.mark.parametrize(
    ("name", "choices", "hint", "text"),
    [
        ("jiont", ["gaussian", "joint"], "", "unknown prior 'jiont'; nearest: joint"),
        ("xyz", ["gaussian", "joint"], "", "unknown prior 'xyz'; for example: gaussian, joint"),
        ("xyz", list("abcdefg"), "", "unknown prior 'xyz'; for example: a, b, c, d, e"),
        ("xyz", [], "", "unknown prior 'xyz'"),
        ("xyz", [], "see --help", "unknown prior 'xyz'; see --help"),
        ("gauss", ["gaussian"], "see --help", "unknown prior 'gauss'; nearest: gaussian; see --help"),
    ],
)
def test_unknown(name: str, choices: list[str], hint: str, text: str) -> None:
    assert str(unknown("prior", name, choices, hint)) == text
