"""A function's code and layers on disk, laid out as Lambda lays them out.

Guarantee: the folders hold what was deployed and nothing else, and a shared object of another
processor is refused by name before anything is started.

https://docs.aws.amazon.com/lambda/latest/dg/chapter-layers.html
"""

import hashlib
import importlib.metadata
import io
import os
import platform
import re
import shutil
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Lambda's name of the processor, and ELF's number of it (e_machine), by what Python calls it.
_ARCHITECTURES: Final = {
    "x86_64": ("x86_64", 62),
    "AMD64": ("x86_64", 62),
    "aarch64": ("arm64", 183),
    "arm64": ("arm64", 183),
}
RUNTIME_CLIENT: Final = "awslambdaric"
# A hundred megabytes are unpacked once, however many processes of a function start together.
_UNPACKING: Final = threading.Lock()


class UnsupportedFunctionError(Exception):
    """The function can't run on this machine; the message says why and what to do."""


@dataclass(frozen=True)
class ZipArtifact:
    """A deployed archive. `digest` names its content; `read` gives its bytes."""

    digest: str
    read: Callable[[], bytes]

    def put_into(self, target: Path) -> None:
        """Unpack into the existing folder `target`, over what is there."""
        with zipfile.ZipFile(io.BytesIO(self.read())) as archive:
            for member in archive.infolist():
                path = Path(archive.extract(member, target))
                mode = member.external_attr >> 16 & 0o777
                if mode and not member.is_dir():
                    path.chmod(mode | 0o400)


@dataclass(frozen=True)
class FolderArtifact:
    """A built folder, as `sam build` leaves it."""

    folder: Path

    @property
    def digest(self) -> str:
        """A name that changes when a file's name, size or time does."""
        digest = hashlib.sha256(str(self.folder).encode())
        for path in sorted(self.folder.rglob("*")):
            state = path.stat()
            digest.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
        return digest.hexdigest()

    def put_into(self, target: Path) -> None:
        """Copy into the existing folder `target`, over what is there."""
        shutil.copytree(self.folder, target, dirs_exist_ok=True, copy_function=_link_or_copy)


Artifact = ZipArtifact | FolderArtifact


def _link_or_copy(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        # Another file system.
        shutil.copy2(source, target)


@dataclass(frozen=True)
class Layout:
    """Where a function's code (`/var/task` on Lambda) and its merged layers (`/opt`) are."""

    task: Path
    opt: Path


def lay_out(code: Artifact, layers: Sequence[Artifact], below: Path) -> Layout:
    """Unpack code and layers under `below`, once per content; later layers cover earlier ones."""
    names = "\0".join(artifact.digest for artifact in (code, *layers))
    folder = below / hashlib.sha256(names.encode()).hexdigest()[:16]
    layout = Layout(folder / "task", folder / "opt")
    with _UNPACKING:
        if not folder.is_dir():
            _unpack(code, layers, folder)
    return layout


def _unpack(code: Artifact, layers: Sequence[Artifact], folder: Path) -> None:
    below = folder.parent
    below.mkdir(parents=True, exist_ok=True)
    # Made beside and renamed, so that a folder of this name is complete.
    with tempfile.TemporaryDirectory(dir=below) as scratch:
        made = Layout(Path(scratch) / "made" / "task", Path(scratch) / "made" / "opt")
        made.task.mkdir(parents=True)
        made.opt.mkdir()
        code.put_into(made.task)
        for layer in layers:
            layer.put_into(made.opt)
        refuse_foreign_libraries((made.task, made.opt))
        try:
            (Path(scratch) / "made").rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same content
                raise


def host_architecture() -> str:
    """This machine's processor in Lambda's words: x86_64 or arm64."""
    return _host()[0]


def _host() -> tuple[str, int]:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise UnsupportedFunctionError(f"Lambda has no architecture for this machine ({machine})")
    return _ARCHITECTURES[machine]


def refuse_foreign_libraries(folders: Iterable[Path]) -> None:
    """Raise UnsupportedFunctionError if a shared object is for another processor or system."""
    architecture, number = _host()
    wanted = number if sys.platform == "linux" else None
    for folder in folders:
        for path in sorted(folder.rglob("*.so*")):
            if path.is_file() and elf_machine(path) not in (None, wanted):
                raise UnsupportedFunctionError(
                    f"{path.relative_to(folder)} is built for another processor or system than"
                    f" this machine ({architecture}, {sys.platform}): build for it, with"
                    f" `sam build --parameter-overrides Architecture={architecture}`"
                )


def elf_machine(path: Path) -> int | None:
    """ELF's number of the processor that a shared object is for; None if it is no ELF file."""
    with path.open("rb") as file:
        header = file.read(20)
    if header[:4] != b"\x7fELF" or len(header) < 20:
        return None
    return int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")


def runtime_client_folder(below: Path) -> Path:
    """A folder with the runtime client and what it needs, and nothing else of this environment.

    On Lambda the runtime client is all that is there besides code and layers; here it stands among
    everything that the local cloud is made of, so it is copied out, file by file as installed.
    """
    distributions = list(_closure(RUNTIME_CLIENT))
    versions = "-".join(distribution.version for distribution in distributions)
    folder = below / f"{RUNTIME_CLIENT}-{versions}"
    if folder.is_dir():
        return folder
    below.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=below) as scratch:
        made = Path(scratch) / "made"
        for distribution in distributions:
            for file in distribution.files or ():
                if ".." in file.parts or "__pycache__" in file.parts:
                    continue
                target = made / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(str(file.locate()), target)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder


def _closure(name: str) -> Iterable[importlib.metadata.Distribution]:
    """A distribution and those that it requires, however far down."""
    seen: dict[str, importlib.metadata.Distribution] = {}
    names = [name]
    while names:
        name = names.pop()
        if name in seen:
            continue
        seen[name] = importlib.metadata.distribution(name)
        # Extras are not asked for; the runtime client's requirements have no other markers.
        needed = [line for line in seen[name].requires or () if "extra ==" not in line]
        names += [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed]
    return seen.values()
