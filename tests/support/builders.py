"""Tar layers and image containers as values: what a test says is what lies in the bytes.

A layer is a row of members: `layer(directory("d"), file("d/a", b"x"), whiteout("b"))`. An image is
an `ImageSpec`; the functions below it write a list of images in the forms that tools leave behind.
Names are text or bytes, as in tar they need not be UTF-8.
"""

import gzip
import hashlib
import json
import random
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, get_args

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Name = str | bytes
Time = int | float | Decimal
Format = Literal["pax", "gnu", "ustar"]
Compress = Literal["gzip", "zstd"] | None
Json = dict[str, Any]
Records = Mapping[str, bytes] | Sequence[tuple[str, bytes]]
"""Extended header records; in a sequence a keyword may repeat."""

BLOCK = 512
END_OF_ARCHIVE = bytes(2 * BLOCK)
OCTAL_LIMIT = 0o7777777


def noise(size: int, seed: str) -> bytes:
    """Bytes that no compressor makes smaller, the same ones every time."""
    return random.Random(seed).randbytes(size)


# --- members ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a layer; `raw`, where given, is written in place of everything else."""

    name: bytes
    type: bytes = tarfile.REGTYPE
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: Time = 0
    linkname: bytes = b""
    major: int = 0
    minor: int = 0
    records: Mapping[str, bytes] = field(default_factory=dict)
    raw: bytes | None = None


def to_bytes(name: Name) -> bytes:
    """A name as tar stores it."""
    return name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")


def to_text(name: bytes) -> str:
    """A name as Python's tarfile takes it, without losing a byte."""
    return name.decode("utf-8", "surrogateescape")


class Attributes(TypedDict, total=False):
    """What may be said of every member; `records` are extended header records other than xattrs."""

    mode: int
    uid: int
    gid: int
    mtime: Time
    xattrs: Mapping[str, bytes]
    records: Mapping[str, bytes]


def _attributes(said: Attributes, mode: int = 0o644) -> dict[str, Any]:
    """The attributes as `Member` has them; `mode` where nothing is said of it."""
    xattrs = {f"SCHILY.xattr.{name}": value for name, value in said.get("xattrs", {}).items()}
    return {
        "mode": said.get("mode", mode),
        "uid": said.get("uid", 0),
        "gid": said.get("gid", 0),
        "mtime": said.get("mtime", 0),
        "records": xattrs | dict(said.get("records", {})),
    }


def file(name: Name, data: bytes = b"", **said: Unpack[Attributes]) -> Member:
    """A regular file."""
    return Member(to_bytes(name), data=data, **_attributes(said))


def directory(name: Name, **said: Unpack[Attributes]) -> Member:
    """A directory; its name gets the slash that tools write."""
    path = to_bytes(name).removesuffix(b"/") + b"/"
    return Member(path, tarfile.DIRTYPE, **_attributes(said, 0o755))


def symlink(name: Name, target: Name, **said: Unpack[Attributes]) -> Member:
    """A symbolic link."""
    about = _attributes(said, 0o777)
    return Member(to_bytes(name), tarfile.SYMTYPE, linkname=to_bytes(target), **about)


def hardlink(name: Name, target: Name, **said: Unpack[Attributes]) -> Member:
    """A further name of `target`'s inode; its attributes are the inode's from here on."""
    return Member(to_bytes(name), tarfile.LNKTYPE, linkname=to_bytes(target), **_attributes(said))


def fifo(name: Name, **said: Unpack[Attributes]) -> Member:
    """A named pipe."""
    return Member(to_bytes(name), tarfile.FIFOTYPE, **_attributes(said))


def char(name: Name, major: int, minor: int, **said: Unpack[Attributes]) -> Member:
    """A character device."""
    return Member(to_bytes(name), tarfile.CHRTYPE, major=major, minor=minor, **_attributes(said))


def block(name: Name, major: int, minor: int, **said: Unpack[Attributes]) -> Member:
    """A block device."""
    return Member(to_bytes(name), tarfile.BLKTYPE, major=major, minor=minor, **_attributes(said))


def whiteout(path: Name) -> Member:
    """The whiteout of `path`: `dir/.wh.base`."""
    parent, slash, base = to_bytes(path).rpartition(b"/")
    return file(parent + slash + b".wh." + base)


def opaque(path: Name) -> Member:
    """The opaque marker of the directory `path`; the root is the empty path."""
    parent = to_bytes(path).rstrip(b"/")
    return file((parent + b"/" if parent else b"") + b".wh..wh..opq")


def extension(kind: str, payload: bytes | Records) -> bytes:
    """A header that says something of the next one: `x` and `g` with records, `L` and `K` with a name."""
    data = payload if isinstance(payload, bytes) else _encode_records(payload)
    return header_block(b"extension", type=kind.encode(), size=b"%011o" % len(data)) + _padded(data)


MAGIC = {"ustar": b"ustar\x0000", "gnu": b"ustar  \0", "v7": bytes(8), "star": b"ustar\x0000"}


def header_block(name: bytes, *, type: bytes = b"0", magic: str = "ustar", **fields: bytes) -> bytes:
    """One header block with a right checksum. `fields` stand in it as they are: mode, uid, gid, size,
    mtime, linkname, devmajor, devminor, prefix, atime, ctime."""
    place = {
        "mode": (100, 8), "uid": (108, 8), "gid": (116, 8), "size": (124, 12), "mtime": (136, 12),
        "linkname": (157, 100), "devmajor": (329, 8), "devminor": (337, 8), "prefix": (345, 155),
        "atime": (345, 12), "ctime": (357, 12),
    }  # fmt: skip
    numbers = {"mode": b"0000644", "uid": b"0000000", "gid": b"0000000", "mtime": bytes(0)}
    header = bytearray(BLOCK)
    header[: len(name)] = name
    header[156:157] = type
    header[257:265] = MAGIC[magic]
    for key, value in {**numbers, **fields}.items():
        at, width = place[key]
        header[at : at + width] = value.ljust(width, b"\0")
    if magic == "star":
        header[508:512] = b"tar\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def raw(
    name: Name,
    data: bytes = b"",
    *,
    before: bytes = b"",
    records: Records = (),
    type: bytes = b"0",
    magic: str = "ustar",
    **fields: bytes,
) -> Member:
    """A member by its very headers: `before` stands first, then records, then the header with these
    fields."""
    path = to_bytes(name)
    extended = extension("x", records) if records else b""
    size = fields.pop("size", b"%011o" % len(data))
    header = header_block(path, type=type, magic=magic, size=size, **fields)
    return Member(path, raw=before + extended + header + _padded(data))


def global_header(records: Mapping[str, bytes]) -> Member:
    """A PAX global header: its records hold for all members after it."""
    return Member(b"pax_global_header", tarfile.XGLTYPE, _encode_records(records))


Sparse = Literal["old", "0.0", "0.1", "1.0"]
SPARSE: tuple[Sparse, ...] = get_args(Sparse)


def sparse(name: Name, size: int, pieces: Sequence[tuple[int, bytes]], *, form: Sparse = "1.0") -> Member:
    """A sparse file of `size` bytes with data in `pieces` (offset, data), as GNU tar stores it: in its old
    form (type S) or in one of its pax forms."""
    path = to_bytes(name)
    if form == "old":
        return Member(path, raw=_old_gnu_sparse(path, size, pieces))
    spans = [(offset, len(data)) for offset, data in pieces]
    content = b"".join(data for _, data in pieces)
    numbers = [b"%d" % number for span in spans for number in span]
    count = b"%d" % len(pieces)
    if form == "1.0":
        sparse_map = b"".join(number + b"\n" for number in [count, *numbers])
        version = [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.name", path)]
        records = [*version, ("GNU.sparse.realsize", b"%d" % size)]
        return raw(b"GNUSparseFile.0/sparse", _padded(sparse_map) + content, records=records)
    records = [("GNU.sparse.size", b"%d" % size), ("GNU.sparse.numblocks", count)]
    if form == "0.1":
        records += [("GNU.sparse.name", path), ("GNU.sparse.map", b",".join(numbers))]
        return raw(b"GNUSparseFile.0/sparse", content, records=records)
    for offset, length in spans:
        records += [("GNU.sparse.offset", b"%d" % offset), ("GNU.sparse.numbytes", b"%d" % length)]
    return raw(path, content, records=records)


def _old_gnu_sparse(path: bytes, size: int, pieces: Sequence[tuple[int, bytes]]) -> bytes:
    """Four pieces fit into the header, 21 more into each block that follows it."""
    content = b"".join(data for _, data in pieces)
    spans = [b"%011o\0%011o\0" % (offset, len(data)) for offset, data in pieces]
    first, rest = spans[:4], spans[4:]
    header = bytearray(
        _info(Member(path, tarfile.GNUTYPE_SPARSE, content), path).tobuf(
            tarfile.GNU_FORMAT, "utf-8", "surrogateescape"
        )
    )
    header[386 : 386 + 24 * len(first)] = b"".join(first)
    header[482] = 1 if rest else 0
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    blocks = []
    while rest:
        now, rest = rest[:21], rest[21:]
        blocks.append(b"".join(now).ljust(504, b"\0") + bytes([1 if rest else 0]) + bytes(7))
    return bytes(header) + b"".join(blocks) + _padded(content)


# --- layers ----------------------------------------------------------------------------------


def layer(*members: Member, format: Format = "pax", end: bool = True, prefix: bytes = b"") -> bytes:
    """The tar of these members, without end-of-archive blocks where `end` is false.

    `prefix` goes before every name and hard-link target, as `tar c .` writes `./`.
    """
    stream = b"".join(_encode(member, format, prefix) for member in members)
    return stream + (END_OF_ARCHIVE if end else b"")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def _encode_records(records: Records) -> bytes:
    """PAX records: each begins with its own length, which counts its own digits."""
    stream = b""
    for keyword, value in records.items() if isinstance(records, Mapping) else records:
        rest = b" " + keyword.encode("utf-8", "surrogateescape") + b"=" + value + b"\n"
        length = len(rest) + 1
        while length != len(rest) + len(str(length)):
            length = len(rest) + len(str(length))
        stream += b"%d" % length + rest
    return stream


def _info(member: Member, name: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(to_text(name))
    info.type = member.type
    info.mode, info.uid, info.gid = member.mode, member.uid, member.gid
    info.mtime = int(member.mtime)
    info.size = len(member.data)
    info.linkname = to_text(member.linkname)
    info.devmajor, info.devminor = member.major, member.minor
    return info


def _encode(member: Member, format: Format, prefix: bytes) -> bytes:
    if member.raw is not None:
        return member.raw
    if member.type == tarfile.XGLTYPE:
        return _header(_info(member, member.name)) + _padded(member.data)
    name = member.name
    if prefix and name != b"./":
        name = prefix + name
    info = _info(member, name)
    if prefix and member.type == tarfile.LNKTYPE:
        info.linkname = to_text(prefix) + info.linkname
    if format == "pax":
        return _encode_pax(info, member) + _padded(member.data)
    if member.records or member.mtime != int(member.mtime):
        raise ValueError(f"{member.name!r}: {format} cannot hold records or parts of a second")
    if format == "ustar":
        return _header(info) + _padded(member.data)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + _padded(member.data)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")


def _encode_pax(info: tarfile.TarInfo, member: Member) -> bytes:
    """A ustar header, after an extended one for all that the ustar fields cannot say.

    Written by hand, as tarfile marks all records of a member as BINARY where one value is no UTF-8;
    the tools that build images do not.
    """
    records = dict(member.records)
    for field_name, keyword in (("name", "path"), ("linkname", "linkpath")):
        value = to_bytes(getattr(info, field_name))
        if len(value) > 100 or not value.isascii():
            records[keyword] = value
            setattr(info, field_name, to_text(bytes(b & 0x7F for b in value[:99])))
    for field_name in ("uid", "gid"):
        number = getattr(info, field_name)
        if not 0 <= number <= OCTAL_LIMIT:
            records[field_name] = b"%d" % number
            setattr(info, field_name, 0)
    if member.mtime < 0 or member.mtime != int(member.mtime):
        records["mtime"] = format(Decimal(str(member.mtime)), "f").encode()
        info.mtime = max(0, int(member.mtime))
    if not records:
        return _header(info)
    extended = Member(b"PaxHeaders.0/x", tarfile.XHDTYPE, _encode_records(records))
    return _header(_info(extended, extended.name)) + _padded(extended.data) + _header(info)


# --- images ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """An image to write: layers base first; `config` holds further top-level fields of it."""

    layers: Sequence[bytes]
    tags: Sequence[str] = ()
    config: Json = field(default_factory=dict)
    history: Literal["auto"] | list[Json] | None = "auto"
    platform: str = "linux/amd64"


CREATED = "2020-01-02T03:04:05Z"
OCI = "application/vnd.oci.image."


def on_base(base: ImageSpec, *layers: bytes, tags: Sequence[str] = ()) -> ImageSpec:
    """An image made on `base`: its layers, then these."""
    return ImageSpec([*base.layers, *layers], tags, base.config, platform=base.platform)


def digest(data: bytes) -> str:
    """The sha256 digest of these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def hex_digest(data: bytes) -> str:
    """The digest without its algorithm."""
    return hashlib.sha256(data).hexdigest()


def compress(data: bytes, how: Compress) -> bytes:
    """These bytes as a blob stores them; the same bytes every time."""
    if how == "gzip":
        return gzip.compress(data, 6, mtime=0)
    return zstd.compress(data, 3) if how == "zstd" else data


def history_of(image: ImageSpec) -> list[Json] | None:
    """The history to write: one entry a layer, with a few empty ones between, if it is "auto"."""
    if image.history != "auto":
        return image.history
    entries: list[Json] = []
    for index in range(len(image.layers)):
        entries.append({"created": CREATED, "created_by": f"RUN step {index}"})
        if index % 2 == 0:
            entries.append({"created": CREATED, "created_by": f"ENV N={index}", "empty_layer": True})
    return entries


def platform_of(image: ImageSpec) -> dict[str, str]:
    """The platform as descriptors name it."""
    names = ("os", "architecture", "variant")
    return dict(zip(names, image.platform.split("/"), strict=False))


def config_of(image: ImageSpec) -> bytes:
    """The config's bytes; their digest is the image_id."""
    value: Json = {**platform_of(image), "created": CREATED, "config": {"Env": ["PATH=/bin"]}}
    value["rootfs"] = {"type": "layers", "diff_ids": [digest(layer) for layer in image.layers]}
    history = history_of(image)
    if history is not None:
        value["history"] = history
    return _json(value | image.config)


def image_id(image: ImageSpec) -> str:
    """The digest of the image's config."""
    return digest(config_of(image))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _write_tar(path: Path, files: Mapping[str, bytes | Member], prefix: bytes = b"") -> None:
    """An archive of these files; a member stands for itself, a name with a slash at its end is a
    folder."""
    members = []
    for name, content in files.items():
        if isinstance(content, Member):
            members.append(content)
        else:
            members.append(directory(name) if name.endswith("/") else file(name, content))
    path.write_bytes(layer(*members, prefix=prefix))


def _repositories(images: Sequence[ImageSpec], tops: Sequence[str]) -> bytes:
    value: dict[str, dict[str, str]] = {}
    for image, top in zip(images, tops, strict=True):
        for tag in image.tags:
            repository, _, name = tag.rpartition(":")
            value.setdefault(repository, {})[name] = top
    return _json(value)


def _legacy_ids(image: ImageSpec) -> list[str]:
    """One id a layer: a hash over the stack, and over the config too for the top one."""
    ids: list[str] = []
    for index, data in enumerate(image.layers):
        top = config_of(image) if index == len(image.layers) - 1 else b""
        ids.append(hex_digest("".join(ids[-1:]).encode() + digest(data).encode() + top))
    return ids


def _legacy_json(image: ImageSpec, ids: Sequence[str], index: int) -> bytes:
    value: Json = {"id": ids[index], "created": CREATED, **platform_of(image)}
    if index:
        value["parent"] = ids[index - 1]
    return _json(value)


def docker_archive_old(
    path: Path,
    images: Sequence[ImageSpec],
    *,
    prefix: bytes = b"",
    repeat: Literal["symlink", "hardlink"] = "symlink",
) -> None:
    """`docker save` before 25: a folder a layer, a layer that comes again as a link to the first.

    With prefix=b"./" and repeat="hardlink" it is what `tar c .` makes of such an archive unpacked.
    """
    files: dict[str, bytes | Member] = {}
    first: dict[str, str] = {}
    manifest, tops = [], []
    for image in images:
        config = config_of(image)
        config_name = f"{hex_digest(config)}.json"
        ids = _legacy_ids(image)
        names = []
        for index, (data, layer_id) in enumerate(zip(image.layers, ids, strict=True)):
            name = f"{layer_id}/layer.tar"
            names.append(name)
            if name in files:
                continue
            files[f"{layer_id}/"] = b""
            files[f"{layer_id}/VERSION"] = b"1.0"
            files[f"{layer_id}/json"] = _legacy_json(image, ids, index)
            earlier = first.setdefault(digest(data), name)
            if earlier == name:
                files[name] = data
            elif repeat == "symlink":
                files[name] = symlink(name, f"../{earlier}")
            else:
                files[name] = hardlink(name, earlier)
        files[config_name] = config
        manifest.append({"Config": config_name, "RepoTags": list(image.tags) or None, "Layers": names})
        tops.append(ids[-1] if ids else "")
    files["manifest.json"] = _json(manifest)
    files["repositories"] = _repositories(images, tops)
    _write_tar(path, files, prefix)


def skopeo_archive(path: Path, images: Sequence[ImageSpec], *, names: str = "docker.io/library/") -> None:
    """skopeo and podman: `<diff_id>.tar`, and the old folders with links to it.

    `names` goes before a tag without a registry; podman puts `localhost/` there.
    """
    files: dict[str, bytes | Member] = {}
    manifest, tops = [], []
    for image in images:
        config = config_of(image)
        ids = _legacy_ids(image)
        for index, (data, layer_id) in enumerate(zip(image.layers, ids, strict=True)):
            files[f"{hex_digest(data)}.tar"] = data
            name = f"{layer_id}/layer.tar"
            files[name] = symlink(name, f"../{hex_digest(data)}.tar")
            files[f"{layer_id}/VERSION"] = b"1.0"
            files[f"{layer_id}/json"] = _legacy_json(image, ids, index)
        files[f"{hex_digest(config)}.json"] = config
        manifest.append(
            {
                "Config": f"{hex_digest(config)}.json",
                "RepoTags": [tag if "/" in tag else names + tag for tag in image.tags],
                "Layers": [f"{hex_digest(data)}.tar" for data in image.layers],
            }
        )
        tops.append(ids[-1] if ids else "")
    files["manifest.json"] = _json(manifest)
    files["repositories"] = _repositories(images, tops)
    _write_tar(path, files)


def kaniko_archive(path: Path, images: Sequence[ImageSpec]) -> None:
    """kaniko and bazel: `<hex>.tar.gz` at the top, named by the compressed bytes."""
    files: dict[str, bytes | Member] = {}
    manifest = []
    for image in images:
        config = config_of(image)
        files[digest(config)] = config
        names = []
        for data in image.layers:
            blob = compress(data, "gzip")
            names.append(f"{hex_digest(blob)}.tar.gz")
            files[names[-1]] = blob
        manifest.append({"Config": digest(config), "RepoTags": list(image.tags), "Layers": names})
    files["manifest.json"] = _json(manifest)
    _write_tar(path, files)


# --- OCI layouts -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Layout:
    """The blobs of a layout on their way, and the descriptors of its index."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    index: list[Json] = field(default_factory=list)

    def add(self, media_type: str, data: bytes) -> Json:
        self.blobs[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def add_image(self, image: ImageSpec, how: Compress) -> Json:
        layers = [
            self.add(f"{OCI}layer.v1.tar" + (f"+{how}" if how else ""), compress(data, how))
            for data in image.layers
        ]
        config = self.add(f"{OCI}config.v1+json", config_of(image))
        return self.add(
            f"{OCI}manifest.v1+json",
            _json(
                {
                    "schemaVersion": 2,
                    "mediaType": f"{OCI}manifest.v1+json",
                    "config": config,
                    "layers": layers,
                }
            ),
        )

    def add_attestation(self, subject: Json, stated: Json | None = None) -> Json:
        """What BuildKit leaves beside an image: a manifest of a statement, for no platform."""
        unknown = {"architecture": "unknown", "os": "unknown"}
        content = {"subject": subject["digest"], **(stated or {})}
        statement = self.add("application/vnd.in-toto+json", _json(content))
        if "predicateType" in content:
            statement["annotations"] = {"in-toto.io/predicate-type": content["predicateType"]}
        config = self.add(
            f"{OCI}config.v1+json",
            _json(
                {
                    **unknown,
                    "config": {},
                    "rootfs": {"type": "layers", "diff_ids": [statement["digest"]]},
                }
            ),
        )
        manifest = self.add(
            f"{OCI}manifest.v1+json",
            _json(
                {
                    "schemaVersion": 2,
                    "mediaType": f"{OCI}manifest.v1+json",
                    "config": config,
                    "layers": [statement],
                }
            ),
        )
        return manifest | {
            "annotations": {
                "vnd.docker.reference.digest": subject["digest"],
                "vnd.docker.reference.type": "attestation-manifest",
            },
            "platform": unknown,
        }

    def tag(self, descriptor: Json, tags: Iterable[str]) -> None:
        """One descriptor a tag; a tag that is only a word is a bare ref.name."""
        tags = list(tags)
        for tag in tags:
            annotations = {"org.opencontainers.image.ref.name": tag.rpartition(":")[2]}
            if ":" in tag:
                annotations["io.containerd.image.name"] = _full_name(tag)
            self.index.append(descriptor | {"annotations": annotations})
        if not tags:
            self.index.append(descriptor)

    def files(self) -> dict[str, bytes | Member]:
        blobs = {f"blobs/sha256/{name[7:]}": data for name, data in sorted(self.blobs.items())}
        index = {"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json", "manifests": self.index}
        return {
            "blobs/": b"",
            "blobs/sha256/": b"",
            **blobs,
            "index.json": _json(index),
            "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        }


def _full_name(tag: str) -> str:
    """The name as containerd keeps it."""
    first, slash, _ = tag.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return tag
    return ("docker.io/" if slash else "docker.io/library/") + tag


def _layout(
    images: Sequence[ImageSpec],
    how: Compress,
    nested: bool = False,
    attestations: bool = False,
    absent: Sequence[str] = (),
    stated: Json | None = None,
) -> tuple[_Layout, list[str]]:
    layout = _Layout()
    digests = []
    inner: list[Json] = []
    for image in images:
        manifest = layout.add_image(image, how) | {"platform": platform_of(image)}
        digests.append(manifest["digest"])
        inner.append(manifest)
        if not nested:
            layout.tag(manifest, image.tags)
    for platform in absent:
        ghost = ImageSpec([], platform=platform)
        inner.append(
            {
                "mediaType": f"{OCI}manifest.v1+json",
                "digest": digest(platform.encode()),
                "size": 7,
                "platform": platform_of(ghost),
            }
        )
    if attestations:
        inner += [layout.add_attestation(manifest, stated) for manifest in inner[: len(images)]]
    if nested:
        index = {"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json", "manifests": inner}
        layout.tag(layout.add(f"{OCI}index.v1+json", _json(index)), images[0].tags)
    else:
        layout.index += inner[len(images) :]
    return layout, digests


def oci_layout(
    folder: Path,
    images: Sequence[ImageSpec],
    *,
    compress: Compress = "gzip",
    nested: bool = False,
    attestations: bool = False,
    absent: Sequence[str] = (),
    stated: Json | None = None,
) -> list[str]:
    """An OCI layout in a folder; returns the manifests' digests.

    nested: all images stand as platforms in one inner index with the first one's tags;
    attestations: beside each image stands a manifest for platform unknown/unknown;
    absent: platforms that the index names and whose blobs are not there;
    stated: fields of the attestations' in-toto statements.
    """
    layout, digests = _layout(images, compress, nested, attestations, absent, stated)
    for name, content in layout.files().items():
        target = folder / name
        if name.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
        elif isinstance(content, bytes):
            target.write_bytes(content)
    return digests


def oci_files(images: Sequence[ImageSpec]) -> dict[str, bytes]:
    """The files of such a layout by their names, layers gzipped."""
    layout, _ = _layout(images, "gzip")
    files = layout.files().items()
    return {name: data for name, data in files if isinstance(data, bytes) and not name.endswith("/")}


def oci_archive(
    path: Path,
    images: Sequence[ImageSpec],
    *,
    compress: Compress = "gzip",
    nested: bool = False,
    attestations: bool = False,
    absent: Sequence[str] = (),
) -> list[str]:
    """The same layout as one tar."""
    layout, digests = _layout(images, compress, nested, attestations, absent)
    _write_tar(path, layout.files())
    return digests


def docker_archive_25(path: Path, images: Sequence[ImageSpec], compress: Compress = None) -> list[str]:
    """`docker save` from 25 on: an OCI layout and manifest.json in one tar."""
    layout, digests = _layout(images, compress)
    manifest = []
    for image, name in zip(images, digests, strict=True):
        inside = json.loads(layout.blobs[name])
        layers = inside["layers"]
        manifest.append(
            {
                "Config": f"blobs/sha256/{inside['config']['digest'][7:]}",
                "RepoTags": list(image.tags) or None,
                "Layers": [f"blobs/sha256/{descriptor['digest'][7:]}" for descriptor in layers],
                "LayerSources": {
                    digest(data): descriptor for data, descriptor in zip(image.layers, layers, strict=True)
                },
            }
        )
    files = layout.files() | {"manifest.json": _json(manifest)}
    _write_tar(path, dict(sorted(files.items())))
    return digests
