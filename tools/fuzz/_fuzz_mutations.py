"""Changes to saved files that leave their form whole, so that what lies behind a
checksum or a parser is reached.

A case is a folder in memory: file names and contents, packed into the one run of bytes
that a fuzzer knows. Each kind of file has a change of its own, found by the ending of
its name: nodes of JSON, headers and numbers of arrays, cells of CSV, footers of
Parquet. Now and then the bytes themselves are changed, or a file goes, or is a pickle.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Files = dict[str, bytes]
#: Changes the bytes of one file; the fuzzer's own where there is one.
Scramble = Callable[[bytes, random.Random], bytes]
Change = Callable[[bytes, random.Random], bytes]

#: What a value of JSON, a header or a cell becomes.
ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 7, 10**4, 10**7, 10**12, 2**31, 2**63, 2**64, -(10**9), 0.5, -0.0, 1e-300, 1e308,
    float("nan"), float("inf"), "", " ", "x" * 70, "nan", "\x00", "\ud800", "ü", "=1+1", "../../x", "/etc/passwd",
    "[1,", "<script>", "a", "1", "-1", [], {}, [[]], [None], [0, 0], ["a", "a"], {"a": 1}, {"": None}, [1e400],
    [[1, 2], [3]],
)  # fmt: skip
#: Types that an array's header can name, and some that it cannot.
TYPES = (
    "<f8", "<f4", "<f2", ">f8", "<i8", "<i4", "|i1", "|u1", "<u8", "|b1", "<c16", "<U3", "<U0", "<U100000000", "|S5",
    "|S0", "|V0", "|V9", "|O", "<M8[s]", "<m8[D]", "x", "", "<f16", [("a", "<f8")], [("a", "|O")],
)  # fmt: skip


def pack(files: Files) -> bytes:
    """Return a folder as one run of bytes."""
    parts = []
    for name, content in files.items():
        head = name.encode("utf-8", "surrogatepass")
        parts.append(struct.pack("<HI", len(head), len(content)) + head + content)
    return b"".join(parts)


def unpack(data: bytes) -> Files:
    """Return the folder; what is cut off at the end is as it is."""
    files: Files = {}
    place = 0
    while place + 6 <= len(data):
        name, size = struct.unpack_from("<HI", data, place)
        place += 6
        files[data[place : place + name].decode("utf-8", "replace")] = bytes(
            data[place + name : place + name + size]
        )
        place += name + size
    return files


def scramble(content: bytes, draw: random.Random) -> bytes:
    """Flip, remove, repeat or insert a few bytes."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        at = draw.randrange(len(changed) + 1)
        what = draw.randrange(5)
        if what == 0 and changed:
            changed[at - 1] ^= 1 << draw.randrange(8)
        elif what == 1:
            del changed[at : at + draw.choice((1, 2, 8, 100))]
        elif what == 2:
            changed[at:at] = draw.randbytes(draw.choice((1, 2, 4, 8)))
        elif what == 3:
            changed[at:at] = changed[max(0, at - draw.choice((1, 4, 50))) : at]
        else:
            number = struct.pack(
                "<q", draw.choice((0, 1, -1, 2**31, 2**32, 2**62, 10**9))
            )
            changed[at : at + 8] = number[: draw.choice((1, 2, 4, 8))]
    return bytes(changed)


class Canary:
    """Creates a folder when it is unpickled, which tells that code was run."""

    path = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def canaries(path: str) -> list[bytes]:
    """Return files that run code in whoever unpickles them: plain, in an array, and as
    PyTorch writes them.
    """
    import torch

    Canary.path = path
    found = [
        pickle.dumps({"format": Canary()}, protocol=protocol) for protocol in (0, 2, 4)
    ]
    array = io.BytesIO()
    np.savez(
        array,
        values=np.array([Canary()], dtype=object),
        facts=np.array(Canary(), dtype=object),
    )
    single = io.BytesIO()
    np.save(single, np.array([Canary()], dtype=object))
    found += [array.getvalue(), single.getvalue()]
    for zipped in (True, False):
        written = io.BytesIO()
        torch.save(
            {"format": 1, "network": Canary()},
            written,
            _use_new_zipfile_serialization=zipped,
        )
        found.append(written.getvalue())
    return found


def mutate(
    files: Files, draw: random.Random, scrambled: Scramble, pickles: list[bytes]
) -> Files:
    """Return a folder with one to four changes."""
    changed = dict(files)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if not changed:
            return dict(files)
        name = draw.choice(sorted(changed))
        chance = draw.random()
        if chance < 0.02:
            del changed[name]
        elif chance < 0.04:
            changed[name] = draw.choice(pickles)
        elif chance < 0.05:
            changed[name] = changed[draw.choice(sorted(changed))]
        elif chance < 0.07:
            changed[name] = changed[name][: draw.randrange(len(changed[name]) + 1)]
        else:
            by_form = FORMS.get(name.rpartition(".")[2].lower())
            if by_form is None or draw.random() < 0.2:
                changed[name] = scrambled(changed[name], draw)
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    changed[name] = by_form(changed[name], draw)
            except Exception:  # noqa: BLE001 — a file that lost its form in an earlier round
                changed[name] = scrambled(changed[name], draw)
    return changed


# ---- JSON ----------------------------------------------------------------------------


def change_json(content: bytes, draw: random.Random) -> bytes:
    """Change nodes of a document."""
    document = json.loads(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        document = change_node(document, draw)
    return json.dumps(document, ensure_ascii=draw.random() < 0.9).encode(
        "utf-8", "surrogatepass"
    )


def change_node(document: Any, draw: random.Random) -> Any:
    """Go down a random way and change what is there."""
    if draw.random() < 0.01:
        return draw.choice(ODD)
    node, owner, key = document, None, None
    while (
        isinstance(node, (dict, list))
        and node
        and (owner is None or draw.random() < 0.85)
    ):
        owner = node
        key = (
            draw.choice(sorted(node))
            if isinstance(node, dict)
            else draw.randrange(len(node))
        )
        node = owner[key]
    if owner is None:
        return draw.choice(ODD)
    what = draw.randrange(8)
    if what == 0:
        del owner[key]
    elif what == 1 and isinstance(owner, list):
        owner.extend([node] * draw.choice((1, 2, 30)))
    elif what == 1 and isinstance(owner, dict):
        owner[str(draw.choice(ODD))] = node
    elif (
        what == 2
        and isinstance(node, (int, float))
        and not isinstance(node, bool)
        and abs(node) < 1e300
    ):
        owner[key] = draw.choice(
            (node + 1, -node, node * 10, node * 1e6, node / 3, int(node) ^ 1)
        )
    elif what == 3:
        owner[key] = nested(node, draw.choice((1, 2, 50, 500)))
    elif what == 4 and isinstance(node, list):
        draw.shuffle(node)
    elif what == 5:
        owner[key] = [node]
    else:
        owner[key] = json.loads(json.dumps(draw.choice(ODD)))
    return document


def nested(node: Any, depth: int) -> Any:
    """Wrap a value in lists."""
    for _ in range(depth):
        node = [node]
    return node


# ---- arrays --------------------------------------------------------------------------


def change_npz(content: bytes, draw: random.Random) -> bytes:
    """Change one array of an npz file: header, numbers, name, how it is compressed, how
    often it is there.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        parts = [(part.filename, file.read(part)) for part in file.infolist()]
    at = draw.randrange(len(parts))
    name, array = parts[at]
    what = draw.randrange(9)
    if what == 0:
        del parts[at]
    elif what == 1:
        parts[at] = (str(draw.choice(ODD)) + ".npy", array)
    elif what == 2:
        parts.append((name, draw.choice(parts)[1]))
    elif what == 3:
        parts[at] = (name, scramble(array, draw))
    else:
        parts[at] = (name, change_npy(array, draw))
    usual, rare = (
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA),
    )
    written = io.BytesIO()
    with zipfile.ZipFile(
        written, "w", draw.choice(usual if draw.random() < 0.97 else rare)
    ) as made:
        for name, array in parts:
            made.writestr(name.replace("\ud800", "?"), array)
    return written.getvalue()


def change_npy(array: bytes, draw: random.Random) -> bytes:
    """Change the header or the numbers of one array, and mostly let both fit
    together.
    """
    stream = io.BytesIO(array)
    version = np.lib.format.read_magic(stream)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    numbers = np.frombuffer(stream.read(), dtype=dtype)
    what = draw.randrange(7)
    header: dict[str, Any] = {
        "descr": dtype.str,
        "fortran_order": fortran,
        "shape": shape,
    }
    if what == 0:
        header["descr"] = draw.choice(TYPES)
    elif what == 1:
        size = len(numbers)
        header["shape"] = draw.choice(
            ((), (0,), (1,), (-1,), (size,), (10**12,), (1, size), (2**40,) * 2, (0, 10**12), (size, 1), (True,),
             ("a",), (1.5,), None, [1])
        )  # fmt: skip
    elif what == 2:
        header[draw.choice(("shape", "descr", "more"))] = draw.choice(ODD)
    elif what == 3 and len(numbers):
        changed = numbers.copy()
        changed[draw.randrange(len(numbers))] = odd_number(dtype, draw)
        numbers = changed
    elif what == 4:
        rows = draw.choice((0, 1, 2, (shape[0] if shape else 1) + 1, 1000))
        header["shape"] = (rows, *shape[1:])
        numbers = np.resize(numbers, rows * int(np.prod(shape[1:], dtype=int)))
    elif what == 5:
        to = np.dtype(
            draw.choice(
                ("<f4", "<f8", "<i8", "|b1", "<U5", "|S3", "<M8[s]", "<c16", "|u1")
            )
        )
        numbers, header["descr"] = numbers.astype(to), to.str
    else:
        numbers = numbers * 0 if dtype.kind in "fiu" else numbers
    written = io.BytesIO()
    if draw.random() < 0.1:
        text = draw.choice(
            (
                repr(header)[:-3],
                "{}",
                "{" * 90,
                "(" * 200,
                "{[]: 1}",
                "'",
                "\t\tx",
                repr(header) + ".a",
            )
        )
        written.write(
            b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text.encode()
        )
    else:
        np.lib.format.write_array_header_1_0(written, header)
    return written.getvalue() + numbers.tobytes()


def odd_number(dtype: np.dtype[Any], draw: random.Random) -> Any:
    """Return a value of a type that is at its edge."""
    if dtype.kind == "f":
        return draw.choice((np.nan, np.inf, -np.inf, 1e300, -0.0, 1e-40))
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return draw.choice((info.min, info.max, 0, 1))
    if dtype.kind in "US":
        return draw.choice(("", "x", "nan", "\x00"))
    return np.zeros(1, dtype)[0]


def change_weights(content: bytes, draw: random.Random) -> bytes:
    """Change the header of a safetensors file, or a tensor's name, type, shape or
    numbers.
    """
    (size,) = struct.unpack_from("<Q", content)
    header, body = json.loads(content[8 : 8 + size]), bytearray(content[8 + size :])
    if draw.random() < 0.3 and len(body) >= 4:
        at = draw.randrange(len(body) // 4) * 4
        body[at : at + 4] = struct.pack(
            "<f", draw.choice((np.nan, np.inf, 3e38, 0.0, -1e30))
        )
    else:
        tensor = header[draw.choice(sorted(header))]
        if draw.random() < 0.5 and isinstance(tensor, dict) and "shape" in tensor:
            tensor["shape"] = draw.choice(
                (
                    [],
                    [0],
                    tensor["shape"][::-1],
                    [1, *tensor["shape"]],
                    [2**40],
                    [2**33, 2**33],
                )
            )
        else:
            header = change_node(header, draw)
    text = json.dumps(header).encode()
    length = (
        len(text)
        if draw.random() < 0.95
        else draw.choice((0, 2**40, 2**63, len(content)))
    )
    return struct.pack("<Q", length) + text + bytes(body)


def change_checkpoint(content: bytes, draw: random.Random) -> bytes:
    """Change nodes of what ``torch.save`` wrote, tensors among them."""
    import torch

    state = torch.load(io.BytesIO(content), weights_only=True)
    node, owner, key = state, None, None
    while (
        isinstance(node, (dict, list))
        and node
        and (owner is None or draw.random() < 0.9)
    ):
        owner = node
        key = (
            draw.choice(sorted(node, key=str))
            if isinstance(node, dict)
            else draw.randrange(len(node))
        )
        node = owner[key]
    what = draw.randrange(6)
    if isinstance(node, torch.Tensor) and what < 4:
        sizes = ((0,), (3,), (1, *node.shape), (10**9,))
        owner[key] = draw.choice(
            (node.double(), node.to(torch.int64), node * float("nan"), *(torch.zeros(1).expand(size) for size in sizes),
             torch.zeros(2, 2).to_sparse(), node.bool())
        )  # fmt: skip
    elif what == 4:
        del owner[key]
    else:
        owner[key] = draw.choice(ODD)
    written = io.BytesIO()
    torch.save(state, written, _use_new_zipfile_serialization=draw.random() < 0.9)
    return written.getvalue()


# ---- tables --------------------------------------------------------------------------


def change_csv(content: bytes, draw: random.Random) -> bytes:
    """Change cells, lines, quotes, delimiters or the encoding of a CSV file."""
    text = content.decode("utf-8")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    what = draw.randrange(9)
    if what == 0:
        return text.encode(
            draw.choice(("utf-16", "utf-8-sig", "latin-1", "utf-32")), "replace"
        )
    if what == 1:
        return text.replace(
            draw.choice(',\n"ae1'),
            draw.choice((";", "\t", "\r", '"', "\x00", " ", ",", "'")),
        ).encode()
    if what == 2:
        import gzip

        return gzip.compress(content * draw.choice((1, 1, 50)))
    row = draw.choice(rows if draw.random() < 0.7 else rows[:1])
    if what == 3:
        rows.extend([row] * draw.choice((1, 10, 300)))
    elif what == 4:
        del row[draw.randrange(len(row))]
    elif what == 5:
        for own in rows:
            own.extend(own[:1] * draw.choice((1, 1, 200)))
    elif what == 6:
        rows = rows[: draw.randrange(3)]
    else:
        row[draw.randrange(len(row))] = str(
            draw.choice((*ODD, *ODD, "9" * 400, "1e999", "1" * 5000, '"', "\n", "true"))
        )
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator=draw.choice(("\n", "\r\n"))).writerows(rows)
    return written.getvalue().encode("utf-8", "replace")


def change_parquet(content: bytes, draw: random.Random) -> bytes:
    """Write a table again with another schema, other metadata, other types, other row
    groups.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    place = draw.randrange(len(table.schema.names))
    what = draw.randrange(8)
    if what == 0:
        table = table.drop_columns([table.schema.names[place]])
    elif what == 1:
        names = list(table.schema.names)
        names[place] = draw.choice(
            (*names, "", "=1", "__index_level_0__", "a.b", "ü" * 50)
        )
        table = table.rename_columns(names)
    elif what in (2, 3):
        said = dict(table.schema.metadata or {})
        key = draw.choice(sorted(said) or [b"pandas"])
        told = said.get(key, b"{}")
        said[key] = (
            change_json(told, draw) if draw.random() < 0.8 else scramble(told, draw)
        )
        table = table.replace_schema_metadata(said)
    elif what == 4:
        rows = table.num_rows
        kinds = (
            pa.nulls(rows), pa.array([[1]] * rows), pa.array([{"a": 1}] * rows), pa.array([b"\xff"] * rows),
            pa.array(["x"] * rows).dictionary_encode(), pa.array([None] * rows, pa.float64()), pa.array([True] * rows),
            pa.array([2**63 - 1] * rows), pa.array([253402300800] * rows, pa.int64()).cast(pa.timestamp("s")),
            pa.array([1] * rows, pa.decimal128(38, 10)), pa.array([86399] * rows, pa.time32("s")),
            pa.array([1] * rows, pa.duration("s")),
        )  # fmt: skip
        table = table.set_column(place, table.schema.names[place], draw.choice(kinds))
    elif what == 5:
        table = table.slice(0, draw.choice((0, 1, 2)))
    elif what == 6:
        table = table.append_column(table.schema.names[place], table.column(place))
    written = io.BytesIO()
    pq.write_table(
        table,
        written,
        row_group_size=draw.choice((None, 1, 7)),
        version=draw.choice(("1.0", "2.6")),
        compression=draw.choice(("none", "snappy", "gzip", "zstd")),
    )
    return written.getvalue() if what < 7 else scramble(written.getvalue(), draw)


def change_image(content: bytes, draw: random.Random) -> bytes:
    """Write an image again in another mode, size or format; or scramble it in its
    own.
    """
    from PIL import Image

    kinds = (
        "PNG",
        "JPEG",
        "GIF",
        "BMP",
        "TIFF",
        "WEBP",
        "PPM",
        "ICO",
        "TGA",
        "PCX",
        "SGI",
        "EPS",
        "PDF",
        "JPEG2000",
    )
    with Image.open(io.BytesIO(content)) as image:
        made = image.convert(
            draw.choice(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "YCbCr"))
        )
        made = made.resize(draw.choice(((1, 1), (1, 500), (500, 1), (9, 7), made.size)))
        written = io.BytesIO()
        try:
            made.save(written, draw.choice(kinds))
        except (OSError, ValueError, KeyError):
            return scramble(content, draw)
    return (
        written.getvalue()
        if draw.random() < 0.6
        else scramble(written.getvalue(), draw)
    )


FORMS: dict[str, Change] = {
    "json": change_json,
    "npz": change_npz,
    "safetensors": change_weights,
    "pt": change_checkpoint,
    "csv": change_csv,
    "parquet": change_parquet,
    "png": change_image,
    "jpg": change_image,
}
