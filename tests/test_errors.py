"""An unknown name is answered with the nearest ones, or with some where none is near; wrong types become words."""

import re

import pytest

from ppgn.errors import InputError, check_known, first_line, unknown, why


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


def test_a_known_name_is_given_back() -> None:
    assert check_known("prior", "joint", ["gaussian", "joint"]) == "joint"
    with pytest.raises(InputError, match="unknown prior 'jiont'; nearest: joint; see --help"):
        check_known("prior", "jiont", iter(["gaussian", "joint"]), "see --help")


def test_of_what_is_said_in_many_lines_the_first_counts() -> None:
    assert [first_line(ValueError(said)) for said in ("\nno\nmore ", "")] == ["no", ""]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("lr is -1\nsee the manual"), "lr is -1"),
        (ValueError(), "ValueError"),
        (TypeError("'<' not supported between instances of 'str' and 'int'"), "wrong kind"),
        (TypeError("AdamW.__init__() got an unexpected keyword argument 'rate'"), "takes no 'rate'"),
        (TypeError("f() missing 1 required positional argument: 'size'"), "needs 'size'"),
        (AttributeError("'NoneType' object has no attribute 'x'"), "wrong kind"),
    ],
)
def test_what_other_libraries_say_becomes_words(error: Exception, text: str) -> None:
    assert re.search(text, why(error))
    assert not re.search("not supported|NoneType|__init__|\n", why(error))
