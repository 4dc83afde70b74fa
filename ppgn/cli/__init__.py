"""The command line, `ppgn VERB key=value ...`: most verbs call a function of the library, as `calls` says."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from ppgn import progress
from ppgn.cli import help
from ppgn.engines import memory
from ppgn.errors import InputError, unknown
from ppgn.networks import labels

MEANT = {  # what people type for commands that have another name
    **dict.fromkeys(("generate", "draw", "create", "make", "run"), "to draw: ppgn sample target=NAME"),
    **dict.fromkeys(("list", "ls"), "ppgn models, ppgn classes and ppgn units list what there is"),
    "version": "ppgn --version",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 is success, 1 a run in which every seed failed, 2 input that cannot be used (one line on stderr; PPGN_DEBUG=1
    shows the traceback as well) and 130 an interruption from the keyboard.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the core to others; torch reads it
    memory.keep()
    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except InputError as error:
        if os.environ.get("PPGN_DEBUG") == "1":
            raise
        return _refuse(str(error))
    except MemoryError as error:
        return _refuse(f"too little memory ({error}); ask for less at a time")
    except KeyboardInterrupt as error:  # long runs say what of them is kept
        if error.args:
            print(f"ppgn: interrupted; {error}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output, as head does, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # what the system refuses: a name that is too long, a folder that nobody may read
        if os.environ.get("PPGN_DEBUG") == "1" or not error.strerror:
            raise
        named = "" if error.filename is None else f" '{error.filename}'"
        return _refuse(f"cannot use{named}: {error.strerror}; choose another place or name")


def _refuse(said: str) -> int:
    """Say in one line what cannot be used, words without an end cut short -> the exit status."""
    line = re.sub(r"(\S{150})\S{150,}", r"\1...", " ".join(said.split()))
    print(f"ppgn: {line}", file=sys.stderr)
    return 2


def _run(words: list[str]) -> int:
    for word in words:
        if not word.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise InputError(f"cannot read {word!a}: it is not UTF-8; rename what it names")
        if re.search(r"\d{4000}", word):  # which Python does not read
            raise InputError(f"cannot read '{word}': a number of thousands of digits; give a smaller one")
        home = re.search(r"=(~\w+)(?:/|$)", word)
        if home and os.path.expanduser(home[1]) == home[1]:
            raise InputError(f"cannot use '{word}': there is no user '{home[1][1:]}'")
    verb = words[0] if words else "--help"
    if verb == "help" and len(words) > 1:
        verb, words = words[1], [*words[1:], "--help"]
    if verb in ("--help", "-h", "help"):
        print(help.overview())
    elif verb in ("--version", "-V"):
        print(f"ppgn {version('ppgn')}")
    elif verb not in help.VERBS:
        raise _unknown(words)
    elif {"--help", "-h"} & set(words) or words[1:2] == ["help"] or words == ["train"]:
        print(help.command(words))
    elif {"--multirun", "-m"} & set(words):
        from ppgn.cli.multirun import multirun

        return multirun(words, main)
    else:
        progress.say("starting")
        try:
            with _no_garbage():
                from ppgn.cli import calls

                run = calls.of(verb)
            return run(words[1:])
        finally:
            progress.hush()
    return 0


@contextmanager
def _no_garbage() -> Iterator[None]:
    """While PyTorch is imported nobody looks for garbage, nor later in what was: that took a tenth of the start."""
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _unknown(words: list[str]) -> InputError:
    """What was probably meant by words that begin with no command."""
    text = " ".join(words)
    if re.match(r"\w+=", text):
        return InputError(f"a command comes first: ppgn sample {text}")
    if words[0] in MEANT:
        return InputError(f"unknown command '{words[0]}'; {MEANT[words[0]]}")
    if not text.startswith("-") and labels.search(labels.imagenet(), text):
        return InputError(f"unknown command '{words[0]}'; to draw it: ppgn sample target=\"{text}\"")
    return unknown("command", words[0], help.VERBS, hint="see ppgn --help")
