"""Random tars whose header chains are odd: what a hostile or a broken writer may put before an entry.

A chain is any number of `x`, `g`, `L` and `K` headers before a header, in any order. Most of what is
drawn is as it should be, so that a reading goes on until it meets what is not; how often that is
differs from tar to tar. The same seed makes the same tar.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tests.support.go_inputs import INPUTS
from tests.support.tar_blocks import (
    BLOCK,
    GNU,
    STAR,
    USTAR,
    V7,
    base256,
    block,
    measured,
    octal,
    padded,
    put,
    record,
    sealed,
    sparse_map,
    sums,
)

NAMES = (
    b"f", b"d/f", b"d/", b"d//", b"/", b"", b"./f", b"../f", b".wh.f", b"d/.wh..wh..opq", b"caf\xe9",
    "é/☺".encode(), b"\xff\xfe", b"new\nline", b"a=b", b" f ", b"f\0g", b"\0f", b"d/\0", b"n" * 99 + b"/",
    b"n" * 100, b"123/0", b"7",
)  # fmt: skip
LONG_NAMES = (b"d/" + b"m" * 200, b"l/" * 120, b"k" * 255, b"\xe9" * 150, b"j/" * 90 + b"f")
TYPES = (b"0", b"\0", b"5", b"1", b"2", b"3", b"4", b"6", b"7", b"S")
OTHER_TYPES = tuple(bytes([n]) for n in range(256))
XATTRS = (b"user.a", b"security.capability", b"trusted.overlay.opaque", b"", b"a=b", b"user.\xff")
VALUES = (b"", b"v", b"\0", b"\1\0\0\2", b"=", b"\n", b"a\nb=c", b"\xff" * 20)
INTEGERS = (
    b"0", b"5", b"7", b"-1", b"-2", b"+5", b"-0", b"+0", b"007", b"0" * 30 + b"9", b"2097152",
    b"4294967294", b"4294967296", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808",
    b"-9223372036854775809", b"", b" 5", b"5 ", b"5.0", b"1e3", b"0x10", b"1_0", b"a", b"5\0", b"\0",
    b"--5", b"+", b"-", "٣".encode(),
)  # fmt: skip
TIMES = (
    b"1", b"1.5", b"-1.5", b"-0.5", b"+2.5", b"1.", b".5", b"-.5", b"", b"1.123456789123", b"1.12345678x",
    b"1.2.3", b"-", b"1e5", b" 1", b"1 ", b"007.7", b"9223372036854775807.999999999", b"1.0000000001",
    b"-9223372036854775808.5", b"9999999999999999999", b"1,5", b"1.-5", b"1.+5", b"0.000000001", b"-0",
)  # fmt: skip
SMALL = tuple(data for data in INPUTS.values() if BLOCK <= len(data) <= 16 * BLOCK)
"""Fixed inputs from which others are made."""
LIMIT = 1 << 20
"""The longest extension header that Go reads, in bytes."""


class Chains:
    """A source of tars. `odd` is how likely each choice is an odd one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.odd = self.random.choice((0.003, 0.01, 0.03, 0.1))

    def oddly(self, factor: float = 1.0) -> bool:
        """Whether this choice is an odd one."""
        return self.random.random() < self.odd * factor

    def tar(self) -> bytes:
        """The next tar."""
        if self.random.random() < 0.15:
            return self.crossed()
        parts = [part for _ in range(self.random.choice((1, 1, 1, 2, 2, 3))) for part in self.entry()]
        if self.oddly():
            parts.insert(self.random.randrange(len(parts) + 1), self.zeros())
        if self.oddly():  # parts of an entry out of their order
            parts.insert(self.random.randrange(len(parts)), parts.pop(self.random.randrange(len(parts))))
        if self.oddly():  # an extension header alone at the end
            parts.append(self.extension())
        data = b"".join(parts) + self.end()
        if self.oddly() and data:
            data = self.damaged(data)
        if self.oddly(2):
            data = data[: self.cut(len(data))]
        return data

    def crossed(self) -> bytes:
        """Blocks of two of the fixed inputs, one inside the other, a bit damaged."""
        one, two = self.random.choice(SMALL), self.random.choice(SMALL)
        at = self.random.randrange(0, len(one) + 1, BLOCK)
        start = self.random.randrange(0, len(two) + 1, BLOCK)
        data = one[:at] + two[start:] + one[at:]
        for _ in range(self.random.choice((0, 1, 1, 2))):
            data = self.damaged(data)
        return data[: self.cut(len(data))] if self.oddly(2) else data

    def end(self) -> bytes:
        """What stands behind the last entry."""
        return self.random.choice(
            (bytes(2 * BLOCK), bytes(2 * BLOCK), bytes(2 * BLOCK), b"", bytes(BLOCK), bytes(10_240))
            if not self.oddly()
            else (
                self.zeros(), bytes(BLOCK) + b"x" * BLOCK, bytes(3 * BLOCK) + b"x", b"x" * 100,
                b"x" * BLOCK, bytes(BLOCK) + block(),
                bytes(2 * BLOCK) + block(), bytes(BLOCK + 1), bytes(100),
            )
        )  # fmt: skip

    def zeros(self) -> bytes:
        """Zeros at a place of their own."""
        return bytes(self.random.choice((1, 511, BLOCK, BLOCK + 5, 2 * BLOCK, 3 * BLOCK)))

    def cut(self, length: int) -> int:
        """Where a tar ends too early."""
        at = self.random.randint(0, length)
        return at - at % BLOCK if self.random.random() < 0.6 else at

    def damaged(self, data: bytes) -> bytes:
        """A tar of which one header has a byte changed, and mostly a right checksum."""
        at = self.random.randrange(0, len(data), BLOCK)
        header = bytearray(data[at : at + BLOCK])
        if len(header) < BLOCK:
            return data
        for _ in range(self.random.choice((1, 1, 2, 8))):
            header[self.random.randrange(BLOCK)] = self.random.choice((0, 32, 48, 55, 57, 127, 128, 255))
        return data[:at] + self.checked(header) + data[at + BLOCK :]

    # --- entries ---

    def entry(self) -> list[bytes]:
        """The parts of an entry: its extension headers, its header, its data."""
        if self.random.random() < 0.2:
            return self.sparse_entry()
        chain = [self.extension() for _ in range(self.random.choice((0, 0, 1, 1, 2, 2, 3, 4)))]
        typeflag = self.typeflag()
        content = self.content() if typeflag not in b"123456" or self.oddly() else b""
        return [*chain, self.header(typeflag, len(content)), padded(content) if content else b""]

    def typeflag(self) -> bytes:
        """One of those that layers know, mostly."""
        if self.oddly(0.5):
            return self.random.choice(OTHER_TYPES)
        return self.random.choice(TYPES if self.oddly() else TYPES[:-2])

    def content(self) -> bytes:
        """A file's data, of a size about which readers may err."""
        size = self.random.choice((0, 0, 1, 5, 511, 512, 513, 999, 1024))
        if self.oddly():  # data that would be an entry to a reader that is out of step
            return block(b"inside", size=0)
        return self.random.randbytes(size) if self.oddly() else b"x" * size

    def name(self) -> bytes:
        """A name of any length."""
        return self.random.choice(NAMES if self.random.random() < 0.8 else LONG_NAMES)

    def sized(self, width: int) -> bytes:
        """A name for a field of a header."""
        return self.name()[:width]

    def header(self, typeflag: bytes, size: int, **fields: bytes) -> bytes:
        """A header block of any dialect."""
        magic, more = self.dialect()
        number = self.number
        values: dict[str, bytes] = {
            "mode": number(8, 0o644), "uid": number(8, 1000), "gid": number(8, 0),
            "mtime": number(12, 1_500_000_000), "size": number(12, size), "linkname": self.sized(100),
            "devmajor": number(8, 0), "devminor": number(8, 0),
        }  # fmt: skip
        if typeflag in b"34":
            values |= {"devmajor": number(8, 8), "devminor": number(8, 1)}
        if self.random.random() < 0.3:
            values |= {"devmajor": b"", "devminor": b""}
        if typeflag not in b"12" and not self.oddly():
            values["linkname"] = b""
        if self.oddly():
            values["devmajor"] = self.random.choice((b"junk", b"\xff\xff\xff\xff", b"8", b"1 1"))
        if self.oddly():
            values["uname"] = self.random.choice((b"root", b"\xff", b"n" * 32))
        header = bytearray(block(self.sized(100), typeflag, magic=magic, **(values | more | fields)))
        return self.checked(header)

    def dialect(self) -> tuple[bytes, dict[str, bytes]]:
        """A magic, and what its dialect keeps behind the device numbers."""
        prefixes = (b"", b"", b"", b"p", b"pre/fix", b"p" * 155, b"\xe9", b"\0p", b"12345", b"p\0q")
        kind = self.random.choice(("ustar", "ustar", "ustar", "gnu", "gnu", "v7", "star", "other"))
        if kind == "ustar":
            return self.random.choice((USTAR, USTAR, b"ustar\0\0\0", b"ustar\0xx")), {
                "prefix": self.random.choice(prefixes)
            }
        if kind == "gnu":
            more = {}
            if self.random.random() < 0.4:
                times = {"gnu_atime": self.number(12, 1), "gnu_ctime": self.number(12, 2)}
                more = self.random.choice((times, {"prefix": self.random.choice(prefixes)}))
            return GNU, more
        if kind == "v7":
            return V7, {"prefix": self.random.choice(prefixes)} if self.oddly() else {}
        if kind == "star":
            return USTAR, {
                "star_prefix": self.random.choice(prefixes)[:131], "star_atime": self.number(12, 1),
                "star_ctime": self.number(12, 1), "trailer": STAR,
            }  # fmt: skip
        return self.random.choice((b"ustar 00", b"ustar  ", b"USTAR\x0000", b"ustar   ", b"ustar\n00")), {
            "prefix": self.random.choice(prefixes)
        }

    def number(self, width: int, value: int) -> bytes:
        """A number in one of the forms that fields have, or what is none."""
        if value >= 8 ** (width - 1):
            return base256(value, width)
        digits = b"%o" % value
        plain = (octal(value, width), b"%0*o " % (width - 1, value), digits, b"%*o " % (width - 1, value))
        if not self.oddly():
            return self.random.choice((plain[0], plain[0], plain[0], *plain))
        least, most = b"\xff" * (width - 8) + b"\x80" + bytes(7), b"\x80" + b"\xff" * (width - 1)
        return self.random.choice(
            (
                base256(value, width), base256(-2, width), base256(-value, width),
                digits.rjust(width, b"0"),
                b"\0\0" + digits, digits + b" \0", b" " * width, b"", b"-1", b"+1", b"8",
                b"0x1",
                digits[:3] + b"\0" + b"77", b"7 7", b"0" * (width - 1) + b"\x80", b"abc", b"7" * width,
                least, most, b"\xff" * width, b"\x80" * width, b"\xc0" + bytes(width - 1),
                b"\x80" + bytes(max(0, width - 9)) + b"\x80" + bytes(7), b"\xbf" + b"\xff" * 7,
            )
        )[:width]  # fmt: skip

    def checked(self, header: bytearray) -> bytes:
        """The header with a checksum, mostly a right one in the common form."""
        unsigned, signed = sums(header)
        if not self.oddly():
            return sealed(header)
        total = signed if signed >= 0 and self.random.random() < 0.4 else unsigned
        right = (
            b"%06o \0" % total, b"%07o\0" % total, b"%o" % total, b"%8o" % total, b"  %o" % total,
            b"%08o" % total, b"\0%06o" % total, b"%o\0junk" % total,
        )  # fmt: skip
        wrong = (
            b"%06o\0 " % (total + 1), b"%06o\0 " % (total + 65521), b"", b" " * 8, b"%06oxx" % total,
            b"%06o77" % total, b"%06o  x" % total, b"0o%05o" % total, base256(total, 8),
        )  # fmt: skip
        put(header, "checksum", self.random.choice(right if self.random.random() < 0.7 else wrong)[:8])
        return bytes(header)

    # --- extension headers ---

    def extension(self) -> bytes:
        """An `x`, `g`, `L` or `K` header and its payload."""
        typeflag = self.random.choice((b"x", b"x", b"x", b"x", b"g", b"L", b"L", b"K"))
        payload = self.records() if typeflag in b"xg" else self.long_name()
        return self.extended(typeflag, payload)

    def extended(self, typeflag: bytes, payload: bytes) -> bytes:
        """An extension header of this payload."""
        size = len(payload)
        if self.oddly(0.3):
            size += self.random.choice((-1, 1, 2, BLOCK))
        return self.header(typeflag, max(0, size)) + padded(payload)

    def long_name(self) -> bytes:
        """The payload of a long name or target."""
        name = self.name()
        if self.oddly(0.05):
            name = b"z" * self.random.choice((LIMIT - 1, LIMIT, LIMIT + 1))
        return self.random.choice((name + b"\0", name + b"\0", name, b"", b"\0", name + b"\0junk"))

    def records(self) -> bytes:
        """The payload of a pax header."""
        records = [self.record() for _ in range(self.random.choice((0, 1, 1, 2, 3, 5)))]
        if records and self.oddly():  # a key that repeats
            records.insert(self.random.randrange(len(records) + 1), self.random.choice(records))
        if self.oddly(0.05):
            records.append(record(b"comment", b"z" * self.random.choice((LIMIT - 5000, LIMIT, LIMIT + 1))))
        payload = b"".join(records)
        if self.oddly(0.3):
            payload += self.random.choice((b"\0", b"\n", b" ", b"5", b"junk", bytes(BLOCK)))
        return payload

    def record(self) -> bytes:
        """A pax record, mostly one that counts."""
        key, value = self.pair()
        if self.oddly(0.5):
            key = self.random.choice(
                (b"", key + b"\0", b"\0", key.upper(), key + b" ", b" " + key, b"pa\0th")
            )
        if self.oddly(0.5):
            value = self.random.choice((b"", value + b"\0", b"\0" + value, value + b"\n", value + b"="))
        good = record(key, value)
        if not self.oddly():
            return good
        length, _, rest = good.partition(b" ")
        n, less, more = int(length), b"%d " % (int(length) - 1), b"%d " % (int(length) + 1)
        return self.random.choice(
            (
                measured(rest, b"+"), measured(rest, b"0"), measured(rest, b"0" * 30), more + rest,
                less + rest, b"-" + good, more + b" " + rest, b" " + more + rest, b" " + rest,
                b"99999999999999999999 " + rest,
                b"%d %s" % (n, rest[:-1] + b"x"), less + rest.replace(b"=", b"", 1), b"4 =\n", b"5 a=\n",
                b"3 \n", b"6 =ab\n", b"0x1f " + rest, b"1_0 " + rest, good * 2,
            )
        )  # fmt: skip

    def pair(self) -> tuple[bytes, bytes]:
        """A key and a value that may stand with it."""
        choose = self.random.choice
        integers: Sequence[bytes] = INTEGERS if self.oddly(3) else INTEGERS[:5]
        times: Sequence[bytes] = TIMES if self.oddly(3) else TIMES[:4]
        kinds: tuple[Callable[[], tuple[bytes, bytes]], ...] = (
            lambda: (b"path", self.name().replace(b"\0", b"" if not self.oddly() else b"\0")),
            lambda: (b"linkpath", self.name().replace(b"\0", b"" if not self.oddly() else b"\0")),
            lambda: (choose((b"uid", b"gid")), choose(integers)),
            lambda: (b"mtime", choose(times)),
            lambda: (choose((b"atime", b"ctime")), choose(times)),
            lambda: (choose((b"SCHILY.xattr.", b"LIBARCHIVE.xattr.")) + choose(XATTRS), choose(VALUES)),
            lambda: (choose((b"uname", b"gname", b"comment", b"charset", b"VENDOR.key")), choose(VALUES)),
            lambda: (b"path", b"") if self.random.random() < 0.5 else (b"linkpath", b""),
            lambda: (b"size", choose((b"0", b"5", b"512", *integers) if self.oddly(5) else (b"",))),
            lambda: self.sparse_pair() if self.oddly(5) else (b"comment", b"c"),
        )
        return choose(kinds)()

    def sparse_pair(self) -> tuple[bytes, bytes]:
        """A record of GNU's sparse formats, alone."""
        integers: Sequence[bytes] = INTEGERS if self.oddly(3) else INTEGERS[:3]
        key = self.random.choice(
            (
                b"name", b"name", b"name", b"major", b"minor", b"realsize", b"size", b"numblocks", b"map",
                b"offset", b"numbytes",
            )
        )  # fmt: skip
        if key == b"name":
            return b"GNU.sparse.name", self.name()
        if key in (b"major", b"minor"):
            return b"GNU.sparse." + key, self.random.choice((b"0", b"1", b"00", b"2", b""))
        if key == b"map":
            return b"GNU.sparse.map", self.random.choice((b"", b"0,5", b"0,0", b"5", b",", b"0,512,1024,1"))
        return b"GNU.sparse." + key, self.random.choice(integers)

    # --- sparse files ---

    def sparse_entry(self) -> list[bytes]:
        """A sparse file of one of GNU's formats, whole or with something of it changed."""
        pieces: list[tuple[int, bytes]] = []
        at = 0
        for _ in range(self.random.choice((0, 1, 2, 3, 5, 30))):
            at += self.random.choice((0, 1, 512, 1000))
            data = b"s" * self.random.choice((0, 1, 512, 700))
            pieces.append((at, data))
            at += len(data)
        size = at + self.random.choice((0, 0, 1, 5000))
        if self.oddly(0.5):
            size += self.random.choice((-1, 1 << 40, (1 << 62)))
        content = b"".join(data for _, data in pieces)
        if self.oddly():
            content = self.random.choice((content[:-1], content + b"x", content + bytes(BLOCK), b""))
        if self.oddly() and pieces:
            where = self.random.randrange(len(pieces))
            pieces[where] = (
                max(0, pieces[where][0] + self.random.choice((-600, -1, 1, 1 << 40))),
                pieces[where][1],
            )
        if self.oddly() and pieces:
            self.random.shuffle(pieces)
        before = [self.extension()] if self.oddly() else []
        between = [self.extension()] if self.oddly() else []
        form = self.random.choice(("S", "0.0", "0.1", "1.0"))
        if form == "S":
            return [*before, *between, self.old_sparse(max(0, size), pieces, len(content)), padded(content)]
        records, head = self.sparse_records(form, max(0, size), pieces)
        stored = head + content
        typeflag = self.random.choice((b"0", b"\0", b"7")) if not self.oddly() else self.typeflag()
        payload = b"".join(record(*pair) for pair in records) + (self.records() if self.oddly() else b"")
        header = self.header(typeflag, len(stored))
        return [*before, self.extended(b"x", payload), *between, header, padded(stored)]

    def old_sparse(self, size: int, pieces: Sequence[tuple[int, bytes]], stored: int) -> bytes:
        """The header blocks of GNU's old format."""

        def spans(some: Sequence[tuple[int, bytes]]) -> bytes:
            numbers = (number for at, data in some for number in (at, len(data)))
            return b"".join(self.number(12, number).ljust(12, b"\0") for number in numbers)

        magic = self.random.choice((USTAR, V7, b"ustar 00")) if self.oddly() else GNU
        header = bytearray(self.header(b"S", stored))
        for field in ("magic", "prefix"):
            put(header, field, magic if field == "magic" else b"")
        put(header, "trailer", b"")
        put(header, "sparse", spans(pieces[:4]))
        put(header, "more", bytes([len(pieces) > 4 or self.oddly(0.2)]))
        put(header, "realsize", self.number(12, size) if size < 8**11 else base256(size, 12))
        blocks = self.checked(header)
        rest = pieces[4:]
        while rest:
            more = self.random.choice((1, 1, 32, 255)) if len(rest) > 21 else 0
            blocks += (spans(rest[:21]).ljust(504, b"\0") + bytes([more])).ljust(BLOCK, b"\0")
            rest = rest[21:]
        return blocks

    def sparse_records(
        self, form: str, size: int, pieces: Sequence[tuple[int, bytes]]
    ) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """The records of a sparse file, and the map that stands before its data."""
        gnu = b"GNU.sparse."
        total = b"%d" % size
        head = b""
        if form == "1.0":
            numbers = [b"%d" % n for at, data in pieces for n in (at, len(data))]
            lines = [b"%d" % len(pieces), *numbers]
            if self.oddly():
                lines[self.random.randrange(len(lines))] = self.random.choice(INTEGERS)
            head = padded(b"".join(line + b"\n" for line in lines))
            records = [(gnu + b"major", b"1"), (gnu + b"minor", b"0"), (gnu + b"realsize", total)]
        else:
            records = [(gnu + b"size", total), (gnu + b"numblocks", b"%d" % len(pieces))]
            if form == "0.1":
                records.append((gnu + b"map", sparse_map(pieces)))
            for at, data in pieces if form == "0.0" else ():
                records += [(gnu + b"offset", b"%d" % at), (gnu + b"numbytes", b"%d" % len(data))]
            if self.random.random() < 0.3:
                records += [(gnu + b"major", b"0"), (gnu + b"minor", form[2:].encode())]
        if form != "0.0" or self.oddly():
            records.insert(
                self.random.randrange(len(records) + 1) if self.oddly() else 0, (gnu + b"name", self.name())
            )
        if self.oddly():
            where = self.random.randrange(len(records))
            key, value = records[where]
            records[where] = (
                key,
                self.random.choice((*INTEGERS, value + b",", b"+" + value, b"0" + value)),
            )
        if self.oddly():
            records.pop(self.random.randrange(len(records)))
        if self.oddly():
            records.insert(self.random.randrange(len(records) + 1), self.pair())
        return records, head


def chain(seed: int) -> bytes:
    """The tar of this seed."""
    return Chains(seed).tar()
