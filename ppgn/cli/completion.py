"""`ppgn completion`: what a shell offers when the tab key is pressed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ppgn import files, paths
from ppgn.cli import help
from ppgn.errors import InputError, check_known

# Bash takes what stands before "=" for a word of its own.
SCRIPTS = {
    "bash": """\
_ppgn() { mapfile -t COMPREPLY < <(ppgn completion line "${COMP_LINE:0:COMP_POINT}" | sed 's/^[^=]*=\\(.\\)/\\1/'); }
complete -o nospace -o default -F _ppgn ppgn""",
    "zsh": """\
_ppgn() { compadd -S '' -- ${(f)"$(ppgn completion line "$words[1,CURRENT]")"} }
compdef _ppgn ppgn""",
    "fish": "complete -c ppgn -f -a '(ppgn completion line (commandline -cp))'",
}
_KEY = re.compile(r"^  (what=\w+|[a-z][\w.]*=)(\S*)", re.MULTILINE)


def main(words: Sequence[str]) -> int:
    """Print the script of a shell, or what could end a line -> exit status 0. Raises `InputError`."""
    if len(words) == 2 and words[0] == "line":
        print("\n".join(offered(words[1])))
        return 0
    if len(words) != 1:
        raise InputError('ppgn completion takes one word, bash, zsh or fish: eval "$(ppgn completion bash)"')
    check_known("shell", words[0], SCRIPTS)
    print(SCRIPTS[words[0]])
    return 0


def offered(line: str) -> list[str]:
    """The words that could stand at the end of a line of a shell: verbs, programs, "KEY=", "KEY=VALUE"."""
    words = [*line.split(), ""] if line[-1:].isspace() else line.split()
    _, *before, last = words if len(words) > 1 else ["ppgn", ""]
    return [word for word in _candidates(before, last.partition("=")) if word.startswith(last)]


def _candidates(before: Sequence[str], last: tuple[str, str, str]) -> Iterable[str]:
    if not before:
        return help.VERBS
    if before == ["train"]:
        return help.programs()
    if before == ["completion"]:
        return SCRIPTS
    if before[0] not in help.VERBS:
        return ()
    key, equals, _ = last
    options = list(files.shipped(files.MODEL)) if key == "model" else paths.options(key)
    if equals and options:
        return (f"{key}={option}" for option in options)
    try:
        keys = dict(_KEY.findall(help.command([*before, "--help"])))
    except InputError:
        return ()
    if equals and keys.get(f"{key}=") in ("true", "false"):
        return (f"{key}=true", f"{key}=false")
    typed = {f"{word.partition('=')[0]}=" for word in before}
    return (key for key in keys if key not in typed)
