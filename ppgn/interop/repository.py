"""A repository of the Hugging Face hub, or a folder that looks like one, as a folder on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ppgn.errors import InputError, first_line

PREFIX = "hf:"


def repository(name: str | Path) -> str:
    """ "hf:USER/NAME@REVISION" or "USER/NAME" -> "USER/NAME"."""
    return str(name).removeprefix(PREFIX).partition("@")[0]


def snapshot(name: str | Path, files: Sequence[str], revision: str | None = None) -> tuple[Path, str | None]:
    """The folder that holds the wanted `files` (patterns) of a repository, and its commit; None for a local folder.

    A folder of that name is it; otherwise "hf:USER/NAME" and "USER/NAME", with @REVISION or not, name a repository,
    of which files that are not in the cache are downloaded. Raises `InputError` where that cannot be.
    """
    if not str(name).startswith(PREFIX) and Path(name).expanduser().is_dir():
        return Path(name).expanduser(), None
    wanted, named = repository(name), str(name).partition("@")[2] or None
    if wanted.count("/") != 1 or wanted.startswith((".", "/", "~")):
        raise InputError(f"no folder '{name}', and no name of the hub; give a folder, or hf:USER/NAME")
    import huggingface_hub

    with telling(f"{wanted}@{revision or named}" if revision or named else wanted):
        found = huggingface_hub.snapshot_download(wanted, revision=revision or named, allow_patterns=list(files))
    return Path(found), Path(found).name


@contextmanager
def telling(name: str) -> Iterator[None]:
    """Turns what huggingface_hub raises about a repository into an `InputError` that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(f"'{name}' asks for a consent: accept its terms on its page, then hf auth login") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"'{name}' has no such revision; give hf:USER/NAME@REVISION that exists") from error
    except errors.RepositoryNotFoundError as error:
        hint = "check the name, or hf auth login"
        raise InputError(f"there is no '{name}' on the hub, or it is private; {hint}") from error
    except errors.HFValidationError as error:
        raise InputError(f"'{name}' is no name of the hub; give hf:USER/NAME") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError) as error:
        hint = "connect, or give a folder; what was downloaded once needs no network"
        raise InputError(f"cannot get '{name}': there is no network, and it is not in the cache; {hint}") from error
    except errors.HfHubHTTPError as error:
        raise InputError(f"the hub refuses '{name}' ({first_line(error)}); check the name and hf auth login") from error
