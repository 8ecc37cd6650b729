"""Tars of which Go's reading is known: what archive/tar's own tests show, restated, and layers that misled.

The names of inputs say whence they come: `testdata/…` are the files of archive/tar's testdata and
`truncation/…`, `records/…`, `old sparse/…`, `sparse records/…`, `number/…`, `time/…` the tables of its
reader_test.go and strconv_test.go, made here with contents of their own; `layer/…` are layers that once
were read otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.support.tar_blocks import (
    BLOCK,
    END,
    GNU,
    STAR,
    V7,
    Piece,
    base256,
    block,
    extension,
    long_link,
    long_name,
    member,
    octal,
    padded,
    pax,
    record,
    sealed,
    sparse_1_0,
    sparse_gnu,
    sparse_map,
    sparse_records,
    sums,
)

TRASH = b"garbage " * 64
"""A block that is no header."""

EVERY_OTHER: Sequence[Piece] = [(at, b"abcdefghij"[at % 10 :][:1]) for at in range(1, 190, 2)]
"""95 pieces of one byte: enough for five blocks of an old map."""
FAR: Sequence[Piece] = [(n * 10**10 - 512, b"%d" % n * 512) for n in range(1, 7)]
"""Pieces in a file of 60 GB."""


def file_0_1(name: bytes, size: int, pieces: Sequence[Piece]) -> bytes:
    """A sparse file of GNU's format 0.1, whose map is one record."""
    return pax(
        (b"GNU.sparse.size", b"%d" % size),
        (b"GNU.sparse.numblocks", b"%d" % len(pieces)),
        (b"GNU.sparse.map", sparse_map(pieces)),
        (b"GNU.sparse.name", name),
    ) + member(b"stand-in", b"".join(data for _, data in pieces))


def file_0_0(name: bytes, size: int, pieces: Sequence[Piece]) -> bytes:
    """A sparse file of GNU's format 0.0, in which keys repeat."""
    return pax(*sparse_records(size, pieces)) + member(name, b"".join(data for _, data in pieces))


def testdata() -> Iterator[tuple[str, bytes]]:
    """The files of archive/tar's testdata."""
    two = ((b"small.txt", b"Kilts"), (b"small2.txt", b"Google.com\n"))
    owner = {"uid": octal(73025, 8), "gid": octal(5000, 8), "uname": b"somebody", "gname": b"eng"}
    yield "gnu", b"".join(member(*file, magic=GNU, **owner) for file in two) + END
    spaces = {"mode": b"0000640 ", "uid": b"0216501 ", "gid": b"0011610 ", "mtime": b"11213575217 "}
    devices = {"devmajor": b"0000000 ", "devminor": b"0000000 "}
    times = {"star_atime": b"11213575217 ", "star_ctime": b"11213575217 ", "trailer": STAR}
    yield (
        "star",
        b"".join(
            block(name, size=b"%011o " % len(data), **spaces, **devices, **times) + padded(data)
            for name, data in two
        )
        + END,
    )
    blanks = {"mode": b"   444 ", "uid": b"216501 ", "gid": b" 11610 ", "mtime": b"11213575720 "}
    yield (
        "v7",
        b"".join(
            block(name, b"\0", size=b"%11o " % len(data), magic=V7, **blanks) + data.ljust(BLOCK, b"\xa5")
            for name, data in two
        )
        + END,
    )
    yield "ustar", member(b"file.txt", b"hello\n", prefix=b"longname/" * 14 + b"longname") + END
    yield (
        "hardlink",
        member(b"file.txt", b"fifteen bytes\n\n") + block(b"hard", b"1", linkname=b"file.txt") + END,
    )
    yield "file-and-dir", member(b"small.txt", b"Kilts") + block(b"dir/", b"5") + END
    yield "ustar-file-devs", block(b"file", devmajor=b"0000001", devminor=b"0000001") + END
    yield "gnu-not-utf8", block(b"hi\x80\x81\x82\x83bye", magic=GNU) + END
    smile = "☺☻☹".encode() * 18
    yield "gnu-utf8", long_name(smile) + block(smile[:100], magic=GNU, uname="☺".encode()) + END
    yield "gnu-long-nul", long_name(b"0123456789\0" + b"junk" * 30) + block(b"0" * 100, magic=GNU) + END
    yield (
        "gnu-multi-hdrs",
        long_name(b"GNU1/GNU1/long-path-name")
        + long_name(b"GNU2/GNU2/long-path-name")
        + long_link(b"GNU3/GNU3/long-linkpath-name")
        + long_link(b"GNU4/GNU4/long-linkpath-name")
        + block(b"bar", b"2", linkname=b"foo", magic=GNU)
        + END,
    )
    yield (
        "pax-multi-hdrs",
        pax((b"path", b"PAX1/PAX1/long-path-name"))
        + pax((b"path", b"PAX2/PAX2/long-path-name"))
        + pax((b"linkpath", b"PAX3/PAX3/long-linkpath-name"))
        + pax((b"linkpath", b"PAX4/PAX4/long-linkpath-name"))
        + block(b"bar", b"2", linkname=b"foo")
        + END,
    )
    long = b"a/" + b"123456789" * 20
    stamp = b"1350244992.023960108"
    stamps = ((b"mtime", stamp), (b"atime", stamp), (b"ctime", stamp))
    yield (
        "pax",
        pax((b"path", long), *stamps)
        + member(long[:100], b"shaner\n")
        + pax((b"linkpath", long), *stamps)
        + block(b"a/b", b"2", linkname=long[:100])
        + END,
    )
    bad = extension(b"x", b"33 path=PAX1/PAX1/long-path-name\0")
    yield "pax-bad-hdr-file", bad + member(b"foo", b"x" * 684) + END
    yield "pax-bad-hdr-large", extension(b"x", record(b"k", b"v" * (1 << 20))) + block() + END
    yield (
        "pax-bad-mtime-file",
        pax((b"mtime", b"999xxx9324.432432444444")) + member(b"foo", b"x" * 684) + END,
    )
    yield (
        "pax-pos-size-file",
        pax((b"size", b"0" * 21 + b"999")) + block(b"foo", size=b"1254") + padded(b"y" * 999) + END,
    )
    yield "pax-path-hdr", pax((b"path", b"PAX1/PAX1/long-path-name"))
    yield (
        "pax-records",
        pax((b"GOLANG.pkg", b"tar"), (b"comment", "Hello, 世界".encode()), (b"uname", b"long" * 10))
        + block()
        + END,
    )
    yield (
        "pax-global-records",
        pax((b"mtime", b"1500000000.0"), (b"path", b"global1"), typeflag=b"g")
        + block(b"file1")
        + pax((b"path", b"file2"))
        + block(b"file2")
        + pax((b"path", b""), typeflag=b"g")
        + block(b"file3")
        + pax((b"mtime", b"1400000000"))
        + block(b"file4")
        + END,
    )
    yield "pax-nul-path", pax((b"path", b"0123456789" * 20 + b"\0")) + block(b"0123456789" * 10) + END
    yield "pax-nul-xattrs", pax((b"SCHILY.xattr.null\0", b"fizzbuzz")) + block(b"bad-null.txt") + END
    selinux = (b"SCHILY.xattr.security.selinux", b"unconfined_u:object_r:default_t:s0\0")
    yield (
        "xattrs",
        pax((b"SCHILY.xattr.user.key", b"value"), selinux, (b"mtime", b"1386065770.44825232"))
        + member(*two[0])
        + pax(selinux)
        + member(*two[1])
        + END,
    )
    slash = b"123456789/" * 30
    yield "trailing-slash", pax((b"path", slash)) + block(slash[:99], b"5") + END
    yield "nil-uid", member(b"P1050238.JPG.log", b"44,44,POWERON\n", uid=b"", gid=b"", magic=GNU) + END
    yield (
        "invalid-go17",
        block(b"foo", b"\0", uid=base256(0o10000000, 8), magic=GNU, prefix=b"a" * 97) + END,
    )
    # What these hold is noise, but for a checksum in base-256, a size that is none under a checksum of
    # signed bytes, a record without a key, and a size below zero.
    yield "issue10968", block(typeflag=b"S", magic=V7, checksum=base256(27182, 8)) + END
    yield "issue11169", extension(b"x", b"30 00000=0000000000000000000" * 3) + block() + END
    huge = {
        "mode": b"\xff\1",
        "uid": b"\xff\1",
        "gid": b"\xff\1",
        "mtime": b"\0",
        "size": b"\x97" + bytes(11),
    }
    balance = block(b"", b"K", magic=V7, checksum=b"00000000", linkname=b"\xad\x80\xf1", **huge)
    assert sums(balance)[1] == 0
    yield "issue12435", balance
    yield "neg-size", block(magic=V7, size=b"\xf4101\xf40t\x1300q\xd4") + END
    incremental = {"magic": GNU, "gnu_atime": octal(1441974501, 12), "gnu_ctime": octal(1441973436, 12)}
    folder = b"Yfoo\0Ysparse\0\0"
    yield (
        "gnu-incremental",
        block(b"test2/", b"D", size=len(folder), mode=b"0040755", **incremental)
        + padded(folder)
        + member(b"test2/foo", b"fewa" * 16, mode=b"0100644", **incremental)
        + sparse_gnu(
            b"test2/sparse", 1 << 29, [(1 << 29, b"")], **{k: incremental[k] for k in ("gnu_atime",)}
        )
        + END,
    )
    data = b"0123456789" * 100
    yield "gnu-nil-sparse-data", sparse_gnu(b"sparse.db", 1000, [(0, data)]) + END
    yield "gnu-nil-sparse-hole", sparse_gnu(b"sparse.db", 1000, [(1000, b"")]) + END
    yield "pax-nil-sparse-data", sparse_1_0(b"sparse.db", 1000, [(0, data)]) + END
    yield "pax-nil-sparse-hole", sparse_1_0(b"sparse.db", 1000, [(1000, b"")]) + END
    yield (
        "gnu-sparse-big",
        sparse_gnu(b"gnu-sparse", 6 * 10**10, FAR) + END,
    )
    yield "pax-sparse-big", sparse_1_0(b"pax-sparse", 6 * 10**10, FAR) + END
    yield (
        "sparse-formats",
        sparse_gnu(b"sparse-gnu", 200, EVERY_OTHER)
        + file_0_0(b"sparse-posix-0.0", 200, EVERY_OTHER)
        + file_0_1(b"sparse-posix-0.1", 200, EVERY_OTHER)
        + sparse_1_0(b"sparse-posix-1.0", 200, EVERY_OTHER)
        + member(b"end", b"end\n", magic=GNU)
        + END,
    )
    yield "writer-big", block(b"tmp/16gig.txt", size=base256(1 << 34, 12), magic=GNU)
    yield (
        "writer-big-long",
        pax((b"size", b"%d" % (1 << 34)), (b"path", b"longname/" * 15 + b"16gig.txt")) + block(),
    )
    yield "hdr-only", b"".join(header_only(size) for size in (0, 5)) + END


def header_only(size: int) -> bytes:
    """Entries of all types that have no data, whatever size their headers state; and a file among them."""
    return b"".join(
        (
            block(b"dir/", b"5", size=size, magic=GNU),
            block(b"fifo", b"6", size=size, magic=GNU),
            member(b"file", b"The quick brown fox jumped over the lazy dog!\n", magic=GNU),
            block(b"hardlink", b"1", size=size, linkname=b"file", magic=GNU),
            block(b"null", b"3", size=size, devmajor=b"0000001", devminor=b"0000003", magic=GNU),
            block(b"sda", b"4", size=size, devmajor=b"0000010", devminor=b"0000000", magic=GNU),
            block(b"symlink", b"2", size=size, linkname=b"file", magic=GNU),
            block(b"badlink", b"2", size=size, linkname=b"missing", magic=GNU),
        )
    )


def truncation() -> Iterator[tuple[str, bytes]]:
    """Where a tar may end, and where not."""
    gnu = (
        member(b"small.txt", b"Kilts", magic=GNU) + member(b"small2.txt", b"Google.com\n", magic=GNU) + END
    )
    ustar = member(b"foo", b"x" * 684) + bytes(10 * BLOCK)
    header = pax((b"path", b"PAX1/PAX1/long-path-name"))
    sparse = sparse_gnu(b"sparse", 200, EVERY_OTHER) + sparse_1_0(b"sparse", 200, EVERY_OTHER) + END
    yield "empty", b""
    for at in (1, 511, 512, 517, 1024, 1536, 2048, 2560):
        yield f"gnu {at}", gnu[:at]
    for at in (511, 512, 1195, 1196, 1200, 1535, 1536, 2048, 2560, 3072):
        yield f"ustar {at}", ustar[:at]
    for at in (1536, 2048, 2560):
        for n in (1, 511, BLOCK):
            yield f"ustar {at}, {n} bytes of trash", ustar[:at] + TRASH[:n]
            yield f"ustar {at}, {n} zeros", ustar[:at] + bytes(n)
    yield "two archives in one", gnu[:2048] + ustar[:1536]
    for at in (1, 511, 512, 513, 545, 1023, 1024):
        yield f"pax header {at}", header[:at]
    for name, behind in {
        "zero block": bytes(BLOCK),
        "end": END,
        "trash": TRASH[:1],
        "zeros": bytes(100),
    }.items():
        yield f"pax header, {name}", header + behind
        yield f"long name, {name}", long_name(b"n") + behind
        yield f"long link, {name}", long_link(b"n") + behind
        yield f"global header, {name}", pax((b"comment", b"c"), typeflag=b"g") + behind
    for at in range(BLOCK // 2, len(sparse), BLOCK // 2):
        yield f"sparse {at}", sparse[:at]
    yield "trash behind the end", sparse + TRASH
    yield "a member behind the end", sparse + gnu


def records() -> Iterator[tuple[str, bytes]]:
    """What may stand in a pax header, each as its whole payload."""
    payloads = [
        b"", b"6 k=1\n", b"10 a=name\n", b"9 a=name\n", b"30 mtime=1350244992.023960108\n",
        b"3 somelongkey=\n", b"50 tooshort=\n", b"13 key1=haha\n13 key2=nana\n13 key3=kaka\n",
        b"13 key1=val1\n13 key2=val2\n8 key1=\n", b"6 k=v\n\n", b"19 path=/etc/hosts\n", b"9 foo=ba\n",
        b"11 foo=bar\n\0", b"18 foo=b=\nar=\n==\0\n", b"27 foo=hello9 foo=ba\nworld\n",
        "27 ☺☻☹=日a本b語ç\nmeow mix".encode(), "27 ☺☻☹=日a本b語ç\n".encode(), b"17 \0hello=\0world\n",
        b"1 k=1\n", b"6 k~1\n", b"6_k=1\n", b"6 k=1 ", b"632 k=1\n", b"16 longkeyname=hahaha\n",
        b"0" * 32 + b"30 mtime=1432668921.098285006\n", b"06 k=v\n", b"00006 k=v\n", b"000006 k=v\n",
        b"000000 k=v\n", b"0 k=v\n", b"+0000005 x=\n", b"+000012 k=v\n", b"+7 k=v\n", b"-6 k=v\n",
        b"7 =abc\n", b"4 =\n", b"5 a=\n", b"10 path=a\n8 path=\n", b"8 path=\n10 path=a\n",
        b"9 path=a\n", b"12 path=a\0b\n", b"12 uname=a\0\n", b"12 gname=\0a\n", b"16 linkpath=a\0b\n",
        b"14 comment=\0a\n", b"10 path=\0\n", b"13 pa\0th=abc\n", b"9 path=\n\n",
    ]  # fmt: skip
    for payload in payloads:
        yield repr(payload)[2:-1], extension(b"x", payload) + member(b"file", b"abc") + END
        yield f"global {repr(payload)[2:-1]}", extension(b"g", payload) + member(b"file", b"abc") + END
    sized = [(b"GNU.sparse.size", b"10"), (b"GNU.sparse.numblocks", b"2")]
    pairs = [(b"GNU.sparse.offset", b"1"), (b"GNU.sparse.numbytes", b"2")]
    more = [(b"GNU.sparse.offset", b"3"), (b"GNU.sparse.numbytes", b"4")]
    for name, rows in {
        "0.0": sized + pairs + more,
        "0.0 turned": sized + pairs[::-1] + more,
        "0.0 with a comma": [*sized, (b"GNU.sparse.offset", b"1,2"), *pairs[1:], *more],
        "0.0 odd": sized + pairs + more[:1],
        "0.0 beside a map": [(b"GNU.sparse.map", b"0,1,4,5"), *sized, *pairs, *more],
        "0.0 before its size": pairs + more + sized,
    }.items():
        yield name, pax(*rows) + member(b"file", b"abcdef") + END


def old_sparse() -> Iterator[tuple[str, bytes]]:
    """Maps of GNU's old sparse format."""

    def entry(size: bytes, *spans: bytes, stored: bytes = b"", magic: bytes = GNU) -> bytes:
        header = block(
            b"s", b"S", size=len(stored), magic=magic, realsize=size, more=bytes([len(spans) > 4]),
            sparse=b"".join(span.ljust(24, b"\0") for span in spans[:4]),
        )  # fmt: skip
        rest = spans[4:]
        while rest:
            header += b"".join(span.ljust(24, b"\0") for span in rest[:21]).ljust(504, b"\0") + bytes(8)
            rest = rest[21:]
        return header + padded(stored) + END

    def spans(*pairs: tuple[int, int]) -> list[bytes]:
        return [octal(at, 12) + octal(length, 12) for at, length in pairs]

    six = spans((0, 1), (2, 1), (4, 1), (6, 1), (8, 1), (10, 1))
    yield "no GNU header", entry(b"1234", magic=V7)
    yield "in ustar", entry(b"1234", magic=b"ustar\x0000")
    yield "no number in the map", entry(b"1234", b"fewa")
    yield "all a hole", entry(b"0031")
    yield "no size", entry(b"80")
    yield "negative size", entry(base256(-5, 12))
    yield "an empty piece", entry(b"1234", *spans((0, 0), (1, 1)), stored=b"x")
    yield "junk behind an empty offset", entry(b"1234", *spans((0, 0), (1, 1)), b"", b"blah", stored=b"x")
    yield "four", entry(b"3333", *six[:4], stored=b"abcd")
    yield "a gap in the map", entry(b"3333", *six[:2], b"", b"", *six[2:4], stored=b"abcd")
    yield "the map cut", entry(b"3333", *six, stored=b"abcdef")[:BLOCK]
    yield "the map cut in a block", entry(b"3333", *six, stored=b"abcdef")[: BLOCK * 3 // 2]
    yield "six", entry(b"3333", *six, stored=b"abcdef")
    yield "size 0 and pieces", entry(b"", *six[:4], stored=b"abcd")
    far = base256(10 << 30, 12) + octal(512, 12)
    yield "far", entry(base256(20 << 30, 12), far, stored=b"x" * 512)
    yield "too much data", entry(b"3333", *six[:4], stored=b"abcde")
    yield "too little data", entry(b"3333", *six[:4], stored=b"abc")
    yield "out of order", entry(b"3333", *six[1::-1], stored=b"ab")
    yield "overlapping", entry(b"3333", *spans((0, 5), (4, 2)), stored=b"abcdefg")
    yield "beyond its size", entry(b"3", *six[:4], stored=b"abcd")
    yield "a negative length", entry(b"3333", octal(0, 12) + base256(-1, 12))
    yield (
        "with a pax name and size",
        pax((b"GNU.sparse.name", b"no"), (b"path", b"yes"), (b"size", b"4"))
        + entry(b"3333", *six[:4], stored=b"abcd"),
    )


def sparse_pax() -> Iterator[tuple[str, bytes]]:
    """Which GNU.sparse records make a sparse file, and what its maps may hold."""
    gnu = b"GNU.sparse."
    blocks, where, size, real = gnu + b"numblocks", gnu + b"map", gnu + b"size", gnu + b"realsize"
    name, ten = (gnu + b"name", b"realname"), b"0,5,10,5,20,5,30,5"

    def version(major: bytes, minor: bytes) -> list[tuple[bytes, bytes]]:
        return [(gnu + b"major", major), (gnu + b"minor", minor)]

    data = b"abcdefghijklmnopqrst"
    v1 = [*version(b"1", b"0"), (real, b"100")]
    rows: dict[str, tuple[list[tuple[bytes, bytes]], bytes]] = {
        "name only": ([name], data),
        "name and size": ([name, (size, b"100"), (real, b"100")], data),
        "name and empty map": ([name, (blocks, b"0"), (where, b"")], b""),
        "int64 blocks": ([(blocks, b"%d" % ((1 << 63) - 1)), (where, b"0,1,2,3")], data),
        "NUL in blocks": ([(blocks, b"4\0"), (where, b"0,1,2,3")], data),
        "too many blocks": ([(blocks, b"4"), (where, b"0,1,2,3")], data),
        "0.1": ([(size, b"5"), (blocks, b"2"), (where, b"0,1,2,3")], b"abcd"),
        "stored size": ([(blocks, b"2"), (where, b"0,1,2,3")], b"abcde"),
        "a blank": ([(blocks, b"2"), (where, b"0, 1,2,3")], b"abcd"),
        "leading zero": ([(blocks, b"2"), (where, b"0,1,02,3"), (real, b"4321")], b"abcd"),
        "signs": ([(blocks, b"+2"), (where, b"+0,1,2,+3"), (real, b"+4321")], b"abcd"),
        "a word": ([(blocks, b"2"), (where, b"0,one1,2,3"), (real, b"9")], b"abcd"),
        "size before realsize": (
            [
                *version(b"0", b"0"),
                (blocks, b"2"),
                (where, b"0,1,2,3"),
                (size, b"1234"),
                (real, b"4321"),
                name,
            ],
            b"abcd",
        ),
        "empty size": ([(blocks, b"2"), (where, b"0,1,2,3"), (size, b""), (real, b"4321")], b"abcd"),
        "bad size": ([(blocks, b"2"), (where, b"0,1,2,3"), (size, b"x"), (real, b"4321")], b"abcd"),
        "negative size": ([(blocks, b"0"), (where, b","), (size, b"-1")], b""),
        "far": (
            [*version(b"0", b"0"), (blocks, b"1"), (where, b"10737418240,512"), (size, b"10737418752")],
            b"x" * 512,
        ),
        "0.0 all a hole": ([*version(b"0", b"0"), (blocks, b"0"), (where, b""), (size, b"7"), name], b""),
        "0.1 by version": ([*version(b"0", b"1"), (blocks, b"4"), (where, ten), (size, b"35")], data),
        "version 1.0 with a map record": ([*v1, (blocks, b"4"), (where, ten)], data),
        "version 2.0": ([*version(b"2", b"0"), (blocks, b"4"), (where, ten), name, (size, b"35")], data),
        "version 00.0": ([*version(b"00", b"0"), (blocks, b"4"), (where, ten), name, (size, b"35")], data),
        "major only": ([(gnu + b"major", b"1"), (blocks, b"4"), (where, ten), name], data),
        "minor only": ([(gnu + b"minor", b"0"), (blocks, b"4"), (where, ten), name], data),
        "empty version": ([*version(b"", b""), (blocks, b"4"), (where, ten), name, (size, b"35")], data),
        "too much data": ([(size, b"5"), (blocks, b"2"), (where, b"0,1,2,3")], b"abcde"),
        "too little data": ([(size, b"5"), (blocks, b"2"), (where, b"0,1,2,3")], b"abc"),
        "map 0": (v1, padded(b"0\n")),
        "map 0 and junk": (v1, padded(b"0\n")[:-1] + b"#"),
        "map without its end": (v1, padded(b"0")),
        "map of a word": (v1, padded(b"ab\n")),
        "map 1": (v1, padded(b"1\n2\n3\n") + b"abc"),
        "map cut": (v1, padded(b"1\n2\n")),
        "map with an empty line": (v1, padded(b"1\n2\n\n")),
        "map behind zeros": (v1, bytes(BLOCK) + padded(b"0\n")),
        "map of two blocks": (v1, b"0" * BLOCK + padded(b"1\n5\n1\n") + b"a"),
        "map of int64": (v1, padded(b"%d\n" % ((1 << 63) - 1))),
        "map with many zeros": (
            v1,
            padded(b"0" * 300 + b"1\n" + b"0" * 1000 + b"5\n" + b"0" * 800 + b"2\n") + b"ab",
        ),
        "map with signs": (v1, padded(b"+1\n+5\n+2\n") + b"ab"),
        "negative count": (v1, padded(b"-1\n")),
        "map in a short block": (v1, b"1\n5\n2\nab"),
        "map far": (
            [*version(b"1", b"0"), (real, b"21474836992")],
            padded(b"2\n10737418240\n512\n21474836480\n512\n") + b"x" * 1024,
        ),
        "map of 100": (
            [*version(b"1", b"0"), (real, b"%d" % (100 << 30))],
            padded(b"100\n" + b"".join(b"%d\n1\n" % (n << 30) for n in range(100))) + b"x" * 100,
        ),
        "1.0 without a size": (version(b"1", b"0"), padded(b"1\n0\n3\n") + b"abc"),
    }
    for what, (row, stored) in rows.items():
        yield what, pax(*row) + member(b"file", stored) + END
    whole, data_1_0 = [*rows["0.1"][0], name], b"abcd"
    for flag in b"\0", b"7", b"1", b"2", b"3", b"5", b"6", b"g", b"x":
        yield f"type {flag!r}", pax(*whole) + member(b"file", data_1_0, typeflag=flag) + END
        yield f"1.0, type {flag!r}", pax(*v1, name) + member(b"file", rows["map 1"][1], typeflag=flag) + END
    yield "beside a path", pax(*whole, (b"path", b"path")) + member(b"file", data_1_0) + END
    yield "beside a long name", pax(*whole) + long_name(b"long") + member(b"file", data_1_0) + END
    yield (
        "a name with a slash",
        pax(*whole[:-1], (gnu + b"name", b"d/")) + member(b"f", data_1_0, typeflag=b"\0") + END,
    )
    yield "slash under a name", pax(*whole) + member(b"d/", data_1_0, typeflag=b"\0") + END


def number() -> Iterator[tuple[str, bytes]]:
    """A number field's forms, in the fields of eight and of twelve bytes."""
    forms = [
        b"", b"\x80", b"\x80\0", b"\xbf", b"\xbf\xff", b"\xff", b"\xff\xff", b"\xc0", b"\xc0\0",
        b"\x87\x76\xa2\x22\xeb\x8a\x72\x61", b"\x80\0\0\0\x07\x76\xa2\x22\xeb\x8a\x72\x61",
        b"\xf7\x76\xa2\x22\xeb\x8a\x72\x61", b"\xff\xff\xff\xff\xf7\x76\xa2\x22\xeb\x8a\x72\x61",
        b"\x80\0\0\0\x7f" + b"\xff" * 7, b"\x80\0\0\0\x80" + bytes(7),
        b"\xff\xff\xff\xff\x80" + bytes(7), b"\xff\xff\xff\xff\x7f" + b"\xff" * 7,
        b"\xf5\xec\xd1\xc7\x7e\x5f\x26\x48\x81\x9f\x8f\x9b", b"0000000", b" \x0000000", b" \x0000003",
        b"00000000227", b"032033\0 ", b"320330\0 ", b"0000660\0 ", b"\0 0000660\0 ", b"0123456789ab",
        b"01234567\x0089a", b"0123\x7e\x5f\x264123", b"12345678", b"77777777", b"777777777777", b"-1",
        b"+1", b"0o7", b"1_0", b" 7 ", b"7 7", b"8",
    ]  # fmt: skip
    for form in forms:
        for width, fields in ((8, ("mode", "uid", "gid", "devmajor", "devminor")), (12, ("mtime", "size"))):
            filled = form.ljust(width, b"\xff" if form[:1] == b"\xff" and len(form) < 3 else b"\0")
            if len(filled) == width:
                for field in fields:
                    # Types that have no data may state any size.
                    kind = b"3" if field.startswith("dev") else b"5" if field == "size" else b"0"
                    values = {field: filled}
                    yield f"{field} {form!r}", block(b"f", kind, **values) + END
    for field in ("gnu_atime", "gnu_ctime"):
        for form in (b"p", b"7", b"\x80" + bytes(10) + b"\1", b"\xff" * 12, b"12 x", b"\xe9", b"8", b"\0p"):
            values = {field: form}
            yield f"{field} {form!r}", block(b"f", magic=GNU, **values) + END
    for field in ("star_atime", "star_ctime"):
        for form in (b"", b"7", b"x", b"\xff" * 12, b"\0p"):
            values = {field: form}
            yield f"{field} {form!r}", block(b"f", star_prefix=b"p", trailer=STAR, **values) + END
    for form in (b"junk", b"\xff", b"8", b"7 7"):
        for kind in b"0", b"5", b"x", b"g", b"L":
            yield f"devmajor {form!r}, type {kind!r}", block(b"f", kind, devmajor=form) + block(b"g") + END
            yield (
                f"v7 devmajor {form!r}, type {kind!r}",
                block(b"f", kind, devmajor=form, magic=V7) + block() + END,
            )
    for kind in b"x", b"L", b"K", b"g":
        for field in ("mode", "uid", "mtime", "size"):
            values = {field: b"junk"}
            yield f"{field} of {kind!r}", block(b"f", kind, **values) + block() + END
    dark = block(b"\xff" * 20)
    yield "signed checksum", sealed(dark, signed=True) + END
    for form in (
        b"%06o \0",
        b"%07o\0",
        b"%8o",
        b"  %o",
        b"%08o",
        b"\0%06o",
        b"%06oxx",
        b"%06o77",
        b"%06o\0x",
    ):
        total = int(block()[148:154], 8)
        yield f"checksum {form!r}", block(checksum=(form % total)[:8]) + END
    yield "checksum off by 65521", block(checksum=b"%06o\0 " % (int(block()[148:154], 8) + 65521)) + END
    for magic in (b"ustar 00", b"ustar  ", b"ustar\0\0\0", b"USTAR\x0000", b"ustar\n00"):
        yield f"magic {magic!r}", block(b"d/", b"3", magic=magic, prefix=b"p", devmajor=b"7") + END
    for kind in b"0", b"\0", b"7", b"5", b"2":
        for magic in (V7, GNU, b"ustar\x0000"):
            yield f"slash, type {kind!r}, magic {magic!r}", block(b"d/", kind, magic=magic) + END
            yield (
                f"slash in pax, type {kind!r}, magic {magic!r}",
                pax((b"path", b"d/")) + block(b"f", kind, magic=magic) + END,
            )


def time() -> Iterator[tuple[str, bytes]]:
    """Forms of a pax time, and of other numbers there."""
    times = [
        b"1350244992.023960108", b"1350244992.02396010", b"1350244992.0239601089", b"1350244992.3",
        b"1350244992", b"-1.000000001", b"-1.000001", b"-1.001000", b"-1", b"-1.999000", b"-1.999999999",
        b"0.999999999", b"1.000000001", b"-1350244992.023960108", b"-1350244992.0239601089", b"", b"0",
        b"1.", b"0.0", b".5", b"-1.3", b"-1.0", b"-0.0", b"-0.1", b"-0.01", b"-0.99", b"-2.99", b"-",
        b"+", b"+1.5", b"-1.-1", b"9" * 47, b"0.123456789abcdef", b"foo", b"\0", "𝟵𝟴𝟳".encode(),
        "98765﹒43210".encode(), b"9223372036854775807", b"-9223372036854775808",
        b"0000000000000000000000000001.5", b"1_0", b" 1", b"1e3",
    ]  # fmt: skip
    for text in times:
        for key in (b"mtime", b"atime", b"ctime"):
            yield f"{key.decode()} {text!r}", pax((key, text)) + block() + END
        yield f"global mtime {text!r}", pax((b"mtime", text), typeflag=b"g") + block() + END
    for text in (
        b"-2",
        b"+5",
        b"0" * 40 + b"7",
        b"4294967294",
        b"4294967296",
        b"%d" % (1 << 63),
        b"x",
        b"5\0",
        b"1_0",
    ):
        for key in (b"uid", b"gid"):
            yield f"{key.decode()} {text!r}", pax((key, text)) + block() + END
        yield f"size {text!r}", pax((b"size", text)) + member(b"f", b"x" * 9) + END
        yield f"directory's size {text!r}", pax((b"size", text)) + block(b"d/", b"5") + block(b"f") + END


def layer() -> Iterator[tuple[str, bytes]]:
    """Layers of which each once made a squashed image go wrong."""
    folder = block(b"d/", b"5", mode=b"0000755")
    secret = member(b"short", b"SECRET")
    disk = [
        (at, bytes([n]) * size)
        for n, (at, size) in enumerate(((0, 4096), (299008, 8192), (897024, 4096)), 1)
    ]
    disk.append((1_500_000, b""))
    yield (
        "sparse00-dot",
        block(b"./", b"5")
        + block(b"./d/", b"5")
        + pax(*sparse_records(1_500_000, disk))
        + member(b"./d/disk.img", b"".join(data for _, data in disk))
        + END,
    )
    yield "sparse-map-a", folder + file_0_1(b"d/s", 4096, [(0, b"s" * 512)]) + END
    yield "sparse-map-b", folder + file_0_1(b"d/s", 4096, [(1024, b"s" * 512)]) + END
    yield (
        "sparse-oldgnu",
        folder
        + sparse_gnu(b"d/disk.img", 1_500_000, disk)
        + block(b"d/disk2.img", b"1", linkname=b"d/disk.img", magic=GNU)
        + member(b"plain", b"p", magic=GNU)
        + END,
    )
    yield "pax-twice", folder + pax((b"path", b"d/first")) + pax((b"mtime", b"5")) + secret + END
    yield (
        "pax, then an empty one",
        folder + pax((b"path", b"d/first")) + extension(b"x", b"") + secret + END,
    )
    yield "gnu-name-then-pax", folder + long_name(b"d/gnu") + pax((b"path", b"d/pax")) + secret + END
    yield "pax, then a GNU name", folder + pax((b"path", b"d/pax")) + long_name(b"d/gnu") + secret + END
    yield (
        "GNU link beside a pax one",
        folder + long_link(b"gnu") + pax((b"linkpath", b"pax")) + block(b"l", b"2", linkname=b"own") + END,
    )
    for name, chain in {
        "an empty GNU name": long_name(b""),
        "a GNU name of size 0": extension(b"L", b""),
        "a GNU name, then an empty one": long_name(b"d/gnu") + long_name(b""),
        "an empty GNU name, then a pax one": long_name(b"") + pax((b"path", b"d/pax")),
        "a pax name, then an empty GNU one": pax((b"path", b"d/pax")) + long_name(b""),
    }.items():
        yield name, folder + chain + secret + END
    deep = b"a/" + b"b" * 80 + b"/c"
    yield (
        "gnu-magic-prefix",
        member(b"f" * 60, b"SECRET", uid=base256(3_000_000, 8), magic=GNU, prefix=deep)
        + member(b"z", b"x")
        + END,
    )
    negative = pax((b"uid", b"-2"), (b"gid", b"-2"))
    yield (
        "uid-negative",
        folder
        + negative
        + member(b"d/f", b"DATA!!")
        + negative
        + block(b"d/link2", b"1", linkname=b"d/f")
        + END,
    )
    yield (
        "global-header",
        pax((b"comment", b"abc"), (b"path", b"evil"), typeflag=b"g") + member(b"x", b"x") + END,
    )
    comment = pax((b"comment", b"c"), typeflag=b"g")
    for name, before in {
        "pax": pax((b"path", b"other")), "GNU name": long_name(b"other"), "GNU link": long_link(b"other"),
    }.items():  # fmt: skip
        yield f"{name}-then-global", before + comment + block(b"secret", b"2", linkname=b"own") + END
        yield f"global-then-{name}", comment + before + block(b"secret", b"2", linkname=b"own") + END
    yield (
        "sparse-name-without-version",
        pax((b"GNU.sparse.name", b"other")) + member(b"secret", b"SECRET") + END,
    )
    attributes = {"mode": b"0000755", "uid": b"0001750", "gid": b"0001750"}
    yield (
        "link-attributes",
        folder
        + member(b"d/f", b"DATA", **attributes)
        + block(b"d/link2", b"1", linkname=b"d/f", mode=b"0000600")
        + END,
    )
    yield "type-contiguous", member(b"c", b"data", typeflag=b"7") + END
    for flag in b"VMDNAXI89":
        yield f"type {chr(flag)}", member(b"v", b"data", typeflag=bytes([flag])) + member(b"f", b"x") + END
    for size in ((1 << 20) - 1, 1 << 20, (1 << 20) + 1):
        for kind in b"x", b"g", b"L", b"K":
            payload = b"z\0".ljust(size, b"j") if kind in b"LK" else record(b"comment", b"z" * (size - 17))
            yield f"{kind.decode()} of {size} bytes", extension(kind, payload) + member(b"f", b"x") + END


GROUPS = {
    "testdata": testdata, "truncation": truncation, "records": records, "old sparse": old_sparse,
    "sparse records": sparse_pax, "number": number, "time": time, "layer": layer,
}  # fmt: skip

INPUTS: dict[str, bytes] = {
    f"{group}/{name}": data for group, make in GROUPS.items() for name, data in make()
}
