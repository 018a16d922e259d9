"""Data files of the Hugging Face hub, fetched only when asked for (`--data hub`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import DataError
from ..kinds import HubData


def fetched(data: HubData, names: Iterable[str]) -> Path:
    """The folder of the named files in the local cache, downloaded when they are not there. Raises DataError."""
    from huggingface_hub import snapshot_download

    files = [f"{data.folder}/{name}" if data.folder else name for name in names]
    wanted = [pattern for name in files for pattern in (name, f"{name}/*")]  # a name may be that of a folder
    try:
        root = snapshot_download(data.repository, repo_type="dataset", revision=data.revision, allow_patterns=wanted)
    # What the client raises depends on what is between here and the hub.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"--data hub: {data.repository} is not in the local cache and the hub cannot be asked "
            f"({type(error).__name__}: {reason}); download {', '.join(files)} elsewhere and give the folder"
        ) from error
    return Path(root) / data.folder
