"""Files of weights from anywhere: recognised by their content, and read without running any of it.

A file may hold objects of other programs next to its weights, such as an `argparse.Namespace` or a
NumPy scalar. `torch.load(weights_only=True)` reads it with empty stand-ins for their classes: the
classes are neither imported nor called.
"""

import json
import pickle
import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kdsweep.training.memory import is_out_of_memory
from kdsweep.training.tensor_files import LENGTH

Kind = Literal["safetensors", "torch"]

AGAIN = "copy or download it again"
STATE_DICT = "torch.save(model.state_dict(), FILE) writes its weights alone"
NEVER = "pickled objects; those are never loaded"
UNPACK = "unpack it and name the file of weights in it"
SUPPORTED_PROTOCOL = 3  # of `torch.load(weights_only=True)`
DEPTH = 8  # of mappings and lists in which tensors are looked for
HEAD = 512  # bytes that are looked at to recognise a file
# The first pickle of a file that torch.save wrote before its format became a zip archive (1.6).
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PICKLES = 4  # before the tensors: this number, the protocol, the system, the content
# What torch itself allows; the last ones are of Python's own types.
OF_TENSORS = re.compile(
    r"torch\.(\w+|(_utils|_tensor|storage|serialization|nn\.parameter)\.\w+)"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(bytearray|set|complex)"
)
PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}

# What other files begin with: what they are, and the way out.
SIGNS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself", "run `git lfs pull`"),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", UNPACK),
    (b"\x89HDF", "an HDF5 file, as Keras writes them", "weights of Keras have to be converted"),
    (b"\x93NUMPY", "a NumPy array", "save a state dict with torch.save"),
)


class Content(NamedTuple):
    """What a file holds: tensors in nested mappings and lists, and the names of foreign classes."""

    tree: Any
    foreign: tuple[str, ...] = ()


class StandIn:
    """In place of an object of a foreign class, whose content is dropped."""

    is_module = False  # whether it is one of torch's `nn.Module`

    def __new__(cls, *_: object, **__: object) -> "StandIn":
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.is_module = isinstance(state, dict) and "_modules" in state


def read_weight_file(path: Path) -> Content:
    """The content of a file of weights of the user, tensors on the CPU.

    Raises ValueError, beginning with `must be`, for any other file and a damaged one.
    """
    if recognise(path) == "safetensors":
        try:
            return Content(load_file(path))
        except (SafetensorError, OSError) as error:
            raise _refusal(path, f"is damaged ({error})", AGAIN) from error
    content = _read_torch(path)
    leaves = list(_leaves(content.tree))
    if content.foreign and not any(isinstance(leaf, Tensor) for leaf in leaves):
        models = [type(leaf).__name__ for leaf in leaves if getattr(leaf, "is_module", False)]
        what = f"is a whole model ({models[0]}) of" if models else "holds no tensors but"
        raise _refusal(path, f"{what} {NEVER}", STATE_DICT)
    return content


def recognise(path: Path) -> Kind:
    """How a file has to be read, by its content.

    Raises ValueError, naming what it is and the way out, if it cannot be a file of weights.
    """
    if not path.is_file():
        raise ValueError(f"must be a file of weights, got {path}, which does not exist")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        size = path.stat().st_size
    except OSError as error:
        raise ValueError(
            f"must be a file of weights, got {path}, which cannot be read ({error.strerror})"
        ) from error
    if head[LENGTH : LENGTH + 1] == b"{":
        return _recognise_safetensors(path, int.from_bytes(head[:LENGTH], "little"), size)
    if head[:2] == b"PK":
        return _recognise_zip(path)
    if head[:1] == b"\x80":
        return _recognise_pickle(path)
    raise _refusal(path, *_other(path, head))


def _other(path: Path, head: bytes) -> tuple[str, str]:
    """What a file is that holds no weights, and the way out."""
    if not head:
        return "is empty", AGAIN
    for sign, name, way_out in SIGNS:
        if head.startswith(sign):
            return f"is {name}", way_out
    if head[257:262] == b"ustar":
        return "is a tar archive", UNPACK
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<"):
        return "is a web page, not the file itself", "download the file that the page links to"
    if text.startswith(b"{"):
        return "is a JSON file", "name the file of weights itself"
    if path.suffix == ".safetensors" or len(head) <= LENGTH:
        return f"is damaged (it begins with {head[:LENGTH].hex(' ')})", AGAIN
    return (
        "is neither a safetensors file nor one that torch.save has written",
        "convert it to a state dict",
    )


def _recognise_safetensors(path: Path, header: int, size: int) -> Kind:
    if LENGTH + header > size:
        raise _refusal(path, f"is damaged: it ends after {size:,} bytes", AGAIN)
    with path.open("rb") as file:
        text = file.read(LENGTH + header)[LENGTH:]
    try:
        entries = json.loads(text).values()
        end = max((int(e["data_offsets"][1]) for e in entries if "data_offsets" in e), default=0)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise _refusal(path, "is damaged: its header cannot be read", AGAIN) from error
    if LENGTH + header + end > size:
        missing = LENGTH + header + end - size
        raise _refusal(path, f"is damaged: its last {missing:,} bytes are missing", AGAIN)
    return "safetensors"


def _recognise_zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception as error:  # a damaged archive makes zipfile raise anything
        what = "is damaged: its directory, which is at its end, cannot be read"
        raise _refusal(path, what, AGAIN) from error
    files = {name.partition("/")[2] for name in names}
    if "constants.pkl" in files:
        save = "torch.save(torch.jit.load(FILE).state_dict(), NEW)"
        raise _refusal(path, "is a TorchScript archive", f"{save} writes its weights alone")
    if "data.pkl" in files:
        return "torch"
    if {"archive_format", "serialized_exported_program.json"} & {*files, *names}:
        save = "torch.save(torch.export.load(FILE).state_dict, NEW)"
        raise _refusal(path, "is a program of torch.export", f"{save} writes its weights alone")
    if names and all(name.endswith(".npy") for name in names):
        raise _refusal(path, "is an archive of NumPy arrays", "save a state dict with torch.save")
    held = ", ".join(names[:3]) or "nothing"
    raise _refusal(path, f"is a zip archive of something else ({held})", UNPACK)


def _recognise_pickle(path: Path) -> Kind:
    with path.open("rb") as file:
        try:
            begin = [argument for _, argument, _ in islice(pickletools.genops(file), 2)]
        except ValueError as error:
            raise _refusal(path, "is damaged: its end is missing", AGAIN) from error
    if LEGACY_MAGIC in begin:
        return "torch"
    raise _refusal(path, f"holds {NEVER}", STATE_DICT)


def _read_torch(path: Path) -> Content:
    """The content of a file of torch.save."""
    foreign: list[str] = []
    try:
        foreign = _foreign_classes(path)
        with ExitStack() as held, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats
            if foreign:
                held.enter_context(torch.serialization.safe_globals(list(_stand_ins(foreign))))
            file = held.enter_context(path.open("rb"))  # of a path torch goes by the suffix
            tree = torch.load(file, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        if (protocol := _protocol(path)) > SUPPORTED_PROTOCOL:
            way_out = "torch.save without pickle_protocol writes one that is read"
            raise _refusal(path, f"has pickle protocol {protocol}", way_out) from error
        modules = [name for name in foreign if name.startswith("torch.nn.modules.")]
        what = f"is a whole model ({modules[0]}) of" if modules else "holds"
        raise _refusal(path, f"{what} {NEVER}", STATE_DICT) from error
    except Exception as error:  # a damaged file makes torch raise anything
        if is_out_of_memory(error):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise _refusal(path, f"is damaged ({reason})", AGAIN) from error
    return Content(tree, tuple(foreign))


def _foreign_classes(path: Path) -> list[str]:
    """The classes and functions that a file names in addition to those of tensors, sorted.

    They are read from the opcodes of its pickles, which are not executed.
    """
    names = set()
    for pickled in _pickles(path):
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
                names.add(f"{PYTHON_2.get(module, module)}.{name}")
    return sorted(name for name in names if not OF_TENSORS.fullmatch(name))


def _protocol(path: Path) -> int:
    """The latest protocol of the pickles of a file of torch.save."""
    first = [next(pickletools.genops(pickled)) for pickled in islice(_pickles(path), 1)]
    return max((int(argument or 0) for op, argument, _ in first if op.name == "PROTO"), default=0)


def _pickles(path: Path) -> Iterator[IO[bytes]]:
    """The pickles of a file of torch.save, each at its beginning."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            (name,) = (n for n in archive.namelist() if n.partition("/")[2] == "data.pkl")
            with archive.open(name) as file:
                yield file
        return
    with path.open("rb") as file:  # one after another; what has been read ends where one ends
        for _ in range(LEGACY_PICKLES):
            yield file


def _stand_ins(names: Sequence[str]) -> Iterator[tuple[Callable[..., Any], str]]:
    """What torch takes in place of the named classes."""
    for name in names:
        if name == "collections.defaultdict":  # a mapping, whose items torch sets
            yield lambda *_: OrderedDict(), name
        else:
            yield type(name, (StandIn,), {}), name


def _leaves(node: object, depth: int = DEPTH) -> Iterator[object]:
    """What is in the mappings and lists of a content."""
    if isinstance(node, Mapping | list | tuple):
        for value in node.values() if isinstance(node, Mapping) else node:
            if depth:  # a content may contain itself
                yield from _leaves(value, depth - 1)
    else:
        yield node


def _refusal(path: Path, what: str, way_out: str) -> ValueError:
    return ValueError(f"must be a file of weights, got {path}, which {what}; {way_out}")
