"""`ppgn models`: what `model=` and `condition=` take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppgn import files, paths
from ppgn.cli.help import table
from ppgn.errors import InputError


def main(words: Sequence[str]) -> int:
    """Print the table -> exit status 0. Raises `InputError` where there are `words`."""
    if words:
        raise InputError(f"ppgn models takes no further words, but got '{' '.join(words)}'")
    shipped = [_row(name, path) for name, path in files.shipped(files.MODEL).items()]
    conditions = [("CONDITION", "TARGET"), *((name, _first_comment(name)) for name in paths.options("condition"))]
    print(table([("MODEL", "CODE", "IMAGE", "SIZE", "DESCRIPTION"), *shipped]), table(conditions), sep="\n\n")
    return 0


def _row(name: str, path: Path) -> tuple[str, ...]:
    """What a checkpoint says of itself; files of earlier versions tell no shapes."""
    head = files.head(path, files.MODEL)
    shapes = head.get("shapes", {"code": "?", "signal": "?"})
    code, image = ("x".join(map(str, shapes[part])) for part in ("code", "signal"))
    return name, code, image, f"{path.stat().st_size / 1e6:.1f} MB", head["card"].get("description", "")


def _first_comment(condition: str) -> str:
    """A configuration file says in its first line what it is."""
    text = (paths.conf() / "condition" / f"{condition}.yaml").read_text()
    return text.splitlines()[0].removeprefix("#").strip()
