"""Live waste: what each rule fits and what it spares, rules from text, and findings in order."""

from __future__ import annotations

import importlib.util
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from squashkit.errors import UsageError
from squashkit.layers.search import parse_pattern
from squashkit.plan.waste.live import Rule, find_live, own_rules, parse_rules
from squashkit.plan.waste.model import Finding, Kind, LiveFile

DOCS = Path(__file__).parents[2] / "docs"
BIG = 2_000_000
"""Bytes of a file that any rule counts."""

GCC = "usr/lib/gcc/x86_64-linux-gnu/12"
CRATE = "registry/src/index.crates.io-6f17d22bba15001f/libc-0.2.155/src/lib.rs"
GEMS = "usr/local/lib/ruby/gems/3.3.0"
SITE = "usr/local/lib/python3.12/site-packages"
CARGO_BUILD = ["srv/target/release/.fingerprint/app-1a2b/bin-app"]

EXAMPLES: dict[str, list[tuple[str, str]]] = {
    "apt-lists": [
        ("var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_InRelease", "var/lib/apt/extended_states"),
    ],
    "apt-archives": [
        ("var/cache/apt/pkgcache.bin", "var/cache/debconf/config.dat"),
        ("var/cache/apt/archives/git_2.39.5-0+deb12u2_amd64.deb", "srv/git_2.39.5-0+deb12u2_amd64.deb"),
    ],
    "dnf": [
        ("var/cache/libdnf5/fedora-2d95c80a1fa0a67d/solv/fedora.solv", "var/lib/dnf/history.sqlite"),
        ("var/cache/dnf/updates.solv", "etc/dnf/dnf.conf"),
    ],
    "yum": [("var/cache/yum/x86_64/7/base/gen/primary_db.sqlite", "var/lib/yum/history/history-1.sqlite")],
    "apk": [("var/cache/apk/APKINDEX.066df28d.tar.gz", "lib/apk/db/installed")],
    "pacman": [
        ("var/cache/pacman/pkg/git-2.45.2-1-x86_64.pkg.tar.zst", "var/lib/pacman/local/git-2.45.2-1/desc")
    ],
    "zypper": [("var/cache/zypp/solv/repo-oss/solv", "var/lib/zypp/AutoInstalled")],
    "pip": [
        ("root/.cache/pip/http-v2/0/1/2/3/0123.body", f"{SITE}/pip/_internal/cache.py"),
        (
            "home/app/.cache/pip/wheels/aa/bb/x-1.0-py3-none-any.whl",
            "root/.cache/huggingface/hub/model.bin",
        ),
    ],
    "uv": [("root/.cache/uv/archive-v0/Ab3/numpy/core.py", "root/.local/share/uv/python/bin/python3.12")],
    "poetry": [
        (
            "root/.cache/pypoetry/artifacts/0a/1b/django-5.0-py3-none-any.whl",
            "root/.cache/pypoetry/virtualenvs/app-Xy-py3.12/bin/python",
        )
    ],
    "conda": [
        ("opt/conda/pkgs/numpy-1.26.4-py312_0.conda", "opt/conda/lib/libz.so.1"),
        ("root/miniconda3/pkgs/cache/497deca9.json", "root/miniconda3/conda-meta/history"),
    ],
    "npm": [("root/.npm/_cacache/content-v2/sha512/ce/db/312b", "root/.npm/_npx/1a2b/package.json")],
    "node-gyp": [("root/.cache/node-gyp/20.11.0/include/node/node.h", "usr/local/include/node/node.h")],
    "yarn-classic": [
        (
            "usr/local/share/.cache/yarn/v6/npm-ms-2.1.2/index.js",
            "root/.cache/ms-playwright/chromium/chrome",
        )
    ],
    "yarn-berry": [
        ("root/.yarn/berry/cache/ms-npm-2.1.2-ec0c10.zip", "app/.yarn/cache/ms-npm-2.1.2-ec0c10.zip")
    ],
    "pnpm": [
        ("root/.local/share/pnpm/store/v3/files/00/1a2b", "root/.local/share/pnpm/global/5/package.json"),
        ("app/.pnpm-store/v10/files/00/1a2b", "root/.local/share/pnpm/store/v10/links/@/ms/2.1.2/x/ms.js"),
    ],
    "gem": [(f"{GEMS}/cache/rack-3.1.7.gem", f"{GEMS}/gems/rack-3.1.7/lib/rack.rb")],
    "bundler": [
        ("usr/local/bundle/cache/rack-3.1.7.gem", "usr/local/bundle/gems/rack-3.1.7/lib/rack.rb"),
    ],
    "vendored-gems": [("app/vendor/cache/rack-3.1.7.gem", "app/vendor/cache/assets.bin")],
    "composer": [
        ("root/.composer/cache/files/monolog/monolog/1a2b.zip", "root/.composer/vendor/bin/phpunit")
    ],
    "nuget": [
        ("root/.nuget/packages/serilog/4.0.0/lib/net8.0/Serilog.dll", "root/.nuget/NuGet/NuGet.Config")
    ],
    "cargo": [
        (f"usr/local/cargo/{CRATE}", "usr/local/cargo/env"),
        (f"root/.cargo/{CRATE}", "root/.cargo/bin/app"),
    ],
    "go-modules": [("go/pkg/mod/golang.org/x/net@v0.27.0/http2/frame.go", "go/bin/app")],
    "go-build": [("root/.cache/go-build/4f/4f87-d", "root/.cache/fontconfig/4f87.cache-8")],
    "maven": [("root/.m2/repository/junit/junit/4.13.2/junit-4.13.2.jar", "root/.m2/settings.xml")],
    "gradle": [("home/gradle/.gradle/caches/modules-2/files-2.1/x.jar", "root/.gradle/gradle.properties")],
    "ccache": [("root/.cache/ccache/0/1/2R", "root/.config/ccache/ccache.conf")],
    "rust-build": [
        ("srv/target/release/deps/libserde-0a1b.rlib", "srv/target/release/app"),
        ("srv/target/debug/incremental/app-1/s-x/query-cache.bin", "srv/target/site/deps/app.js"),
    ],
    "object-files": [
        (
            "app/node_modules/bcrypt/build/Release/obj.target/bcrypt_lib/src/bcrypt.o",
            "app/node_modules/bcrypt/build/Release/bcrypt_lib.node",
        )
    ],
    "compilers": [
        (f"{GCC}/cc1plus", f"{GCC}/libgcc_s.so.1"),
        ("usr/bin/x86_64-linux-gnu-gcc-12", "usr/bin/grpc_cpp_plugin"),
    ],
    "go-toolchain": [("usr/local/go/pkg/tool/linux_amd64/compile", "usr/local/go/lib/time/zoneinfo.zip")],
    "rust-toolchain": [
        (
            "usr/local/rustup/toolchains/1.80.0-x86_64-unknown-linux-gnu/lib/librustc_driver-1a.so",
            "usr/local/cargo/bin/app",
        )
    ],
    "headers": [("usr/include/openssl/ssl.h", "usr/share/app/include/a.h")],
    "static-libraries": [
        ("usr/lib/x86_64-linux-gnu/libcrypto.a", "usr/lib/x86_64-linux-gnu/libcrypto.so.3"),
        ("usr/local/lib/libz.a", "opt/app/data.a"),
    ],
    "unpacked-archives": [
        ("opt/nginx-1.27.0.tar.gz", "opt/nginx-1.26.0.tar.gz"),
        ("opt/data.zip", "opt/other.zip"),
        ("opt/tool-2.0-py3-none-any.whl", "opt/base-2.0-py3-none-any.whl"),
        ("opt/node-v20.tar.xz", "usr/lib/node-v20.tar.xz"),
    ],
    "temporary-files": [("tmp/npm-1234-0a1b/registry.json", "tmp/entrypoint.sh")],
    "version-control": [("app/.git/objects/pack/pack-1a2b.pack", "app/.gitignore")],
    "python-tests": [
        (f"{SITE}/scipy/special/tests/test_basic.py", f"{SITE}/scipy/special/_basic.py"),
        (f"{SITE}/scipy/special/tests/data/boost.npz", f"{SITE}/astropy/tests/runner.py"),
        ("usr/local/lib/python3.12/test/testtar.tar.xz", "usr/lib/python3.11/test/support/__init__.py"),
        (f"{SITE}/nltk/test/test_stem.py", f"{SITE}/django/test/client.py"),
    ],
    "node-tests": [
        ("app/node_modules/jsonparse/test/boundary.js", "app/node_modules/@playwright/test/index.js"),
        ("app/node_modules/@scope/name/test/a.js", "app/node_modules/test/index.js"),
    ],
    "other-tests": [
        ("usr/share/php/tests/Log/tests/a.phpt", "usr/share/go-1.19/src/cmd/passes/tests/tests.go"),
        (f"{GEMS}/gems/rack-3.1.7/spec/spec_rack.rb", f"{GEMS}/specifications/rack-3.1.7.gemspec"),
    ],
    "python-bytecode": [("app/__pycache__/main.cpython-312.pyc", "app/main.pyc")],
    "login-records": [("var/log/lastlog", "var/lib/lastlog/lastlog2.db")],
    "logs": [
        ("var/log/dpkg.log", "var/lib/dpkg/status"),
        ("root/build.log", "srv/db/000003.log"),
        ("app/install.log", "srv/kafka/topic-0/00000000000000000000.log"),
    ],
    "core-dumps": [
        ("app/core", "app/core/index.html"),
        ("core.4711", "app/core.js"),
        ("srv/core.12", "usr/share/x/core.12"),
    ],
    "developer-manuals": [
        ("usr/share/man/man3/printf.3.gz", "usr/share/man-db/manpath"),
        ("usr/share/man/man2/open.2.gz", "usr/lib/manual.2.gz"),
    ],
    "manuals": [("usr/share/man/man1/ls.1.gz", "usr/share/manifest")],
    "documentation": [("usr/share/doc/git/RelNotes/2.39.5.txt", "usr/share/doc/git/copyright")],
    "translations": [
        ("usr/share/locale/de/LC_MESSAGES/git.mo", "usr/share/locale/locale.alias"),
    ],
}
"""For each rule paths that it fits, each with one near by that no rule fits."""

DIRECTORIES = [
    b"opt/nginx-1.27.0",
    b"opt/data",
    b"opt/data2",
    b"opt/tool-2.0.dist-info",
    b"opt/node-v20-linux",
]

DEBIAN = """
    bin/busybox etc/apt/sources.list.d/debian.sources etc/ca-certificates.conf etc/default/useradd
    etc/ld.so.cache etc/os-release etc/passwd etc/ssl/certs/ca-certificates.crt
    lib/x86_64-linux-gnu/libc.so.6 lib64/ld-linux-x86-64.so.2 root/.bashrc sbin/ldconfig usr/bin/apt
    usr/bin/git usr/bin/perl usr/bin/python3.11 usr/bin/gpgv usr/bin/tar usr/lib/apt/methods/http
    usr/lib/git-core/git usr/lib/locale/C.utf8/LC_CTYPE usr/lib/os-release
    usr/lib/python3.11/logging/__init__.py usr/lib/python3.11/test/__init__.py
    usr/lib/python3.11/unittest/case.py usr/lib/python3/dist-packages/x.py
    usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30 usr/lib/x86_64-linux-gnu/perl-base/unicore/To/Age.pl
    usr/lib/x86_64-linux-gnu/gconv/UTF-16.so usr/libexec/coreutils/libstdbuf.so usr/sbin/useradd
    usr/share/bash-completion/completions/git usr/share/ca-certificates/mozilla/GTS_Root_R1.crt
    usr/share/common-licenses/GPL-3 usr/share/doc/tar/copyright usr/share/i18n/charmaps/UTF-8.gz
    usr/share/keyrings/debian-archive-keyring.gpg usr/share/locale/locale.alias
    usr/share/perl5/Debconf/Db.pm usr/share/zoneinfo/Europe/Berlin var/cache/debconf/templates.dat
    var/lib/dpkg/info/tar.list var/lib/dpkg/status var/lib/systemd/deb-systemd-helper-enabled/x
    var/spool/cron/crontabs/root
"""
TOOLS = f"""
    {GCC}/cc1 {GCC}/cc1plus {GCC}/libgcc.a {GCC}/include/stddef.h usr/bin/gcc-12 usr/include/stdio.h
    usr/lib/x86_64-linux-gnu/crt1.o usr/lib/x86_64-linux-gnu/libc.a usr/lib/x86_64-linux-gnu/libc.so
    usr/local/bin/node usr/local/bin/uv usr/local/include/node/v8.h
    usr/local/include/python3.12/Python.h usr/local/lib/node_modules/npm/node_modules/semver/index.js
    usr/local/lib/libpython3.12.so.1.0 {SITE}/pip/_vendor/distlib/t64.exe
    usr/local/lib/python3.12/ensurepip/_bundled/pip-24.0-py3-none-any.whl usr/local/go/bin/go
    usr/local/go/src/go.mod usr/local/go/src/cmd/go.mod usr/local/cargo/bin/cargo
    usr/local/rustup/toolchains/stable/bin/rustc usr/lib/rpm/macros usr/lib/sysimage/rpm/rpmdb.sqlite
    lib/apk/db/installed lib/ld-musl-x86_64.so.1 usr/lib/libcrypto.so.3 go/bin/golangci-lint
    usr/lib/postgresql/15/lib/pgxs/config.status usr/src/linux-headers-6.1/scripts/mod.o
"""
"""Of images that people compile in, when they run and when they are built."""


def live(path: str, size: int = BIG, layer: int = 0) -> LiveFile:
    return LiveFile(path.encode(), size, size + 512, layer)


def findings(paths: Iterable[str], rules: Sequence[Rule] | None = None) -> list[Finding]:
    """What rules find among large files of one layer."""
    files = [live(path) for path in paths]
    return find_live(files, DIRECTORIES, own_rules() if rules is None else rules)


def fitting(path: str, beside: Iterable[str] = ()) -> list[str]:
    """The rules that fit a path of an image that has other files too."""
    return [one.rule for one in findings([path, *beside]) if path.encode() in one.paths]


def one_rule(keys: str = "", *, name: str = "one", paths: str = '["*.tmp"]') -> str:
    """A rule as text."""
    return (
        f'[[rule]]\nname = "{name}"\npaths = {paths}\nreason = "R."\nmend = "M."\nkind = "remove"\n{keys}\n'
    )


# --- our own rules ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", own_rules(), ids=lambda rule: rule.name)
def test_each_rule_fits_its_examples_and_not_what_is_near(rule: Rule) -> None:
    """A real path counts under the rule, and one near by under none."""
    beside = CARGO_BUILD if rule.built else []
    for path, near in EXAMPLES[rule.name]:
        assert fitting(path, beside) == [rule.name]
        assert fitting(near, beside) == []


def test_every_rule_has_examples() -> None:
    """And every example has a rule."""
    assert list(EXAMPLES) == [rule.name for rule in own_rules()]


def test_no_rule_fits_ordinary_files() -> None:
    """Not of Debian, nor of images with compilers in which nothing was compiled."""
    assert findings(DEBIAN.split()) == []
    assert findings([*DEBIAN.split(), *TOOLS.split()]) == []


def test_texts_are_single_sentences() -> None:
    """Reasons and mends end in one full stop, and have no sign that a table ends a cell at."""
    for rule in own_rules():
        for text in (rule.reason, rule.mend):
            assert re.fullmatch(r"[^|]+\.", text), rule.name
            assert not re.search(r"[a-z`]\. [A-Z]", text), rule.name


def test_a_plug_and_play_project_needs_the_cache_of_yarn() -> None:
    """Its packages are run from there, so the rule fits nothing in such an image."""
    assert fitting("root/.yarn/berry/cache/ms.zip", ["app/.pnp.cjs"]) == []
    files = [live("root/.yarn/berry/cache/ms.zip"), live("app/.pnp.cjs", 0)]
    assert find_live(files, [], own_rules()) == []


def test_small_files_are_no_core_dumps() -> None:
    """They are for something else."""
    assert find_live([live("app/core", 999_999)], [], own_rules()) == []
    assert [one.rule for one in find_live([live("app/core", 1_000_000)], [], own_rules())] == ["core-dumps"]


# --- where something was compiled -------------------------------------------------------------


def compilers(*files: LiveFile) -> set[str]:
    """The rules that fit compilers in layer 1, with other files."""
    tools = [
        live(f"{GCC}/cc1", layer=1),
        live("usr/local/go/bin/go", layer=1),
        live("usr/include/a.h", layer=1),
    ]
    found = find_live([*tools, *files], [], own_rules())
    return {one.rule for one in found} & {"compilers", "go-toolchain", "headers"}


@pytest.mark.parametrize(
    "trace",
    [
        "srv/target/release/.fingerprint/app/bin-app",
        "srv/build/CMakeCache.txt",
        "usr/src/app/config.status",
        "app/node_modules/x/build/Release/obj.target/x.o",
        "app/build/temp.linux-x86_64-cpython-312/src/x.o",
    ],
)
def test_traces_prove_that_something_was_compiled(trace: str) -> None:
    """In the compilers' layer or above it, and not below."""
    assert compilers(live(trace, 1, layer=1)) == {"compilers", "go-toolchain", "headers"}
    assert compilers(live(trace, 1, layer=2)) == {"compilers", "go-toolchain", "headers"}
    assert compilers(live(trace, 1, layer=0)) == set()


def test_an_object_file_is_a_trace_beside_its_source() -> None:
    """Others are data, or came in a package."""
    assert compilers(live("srv/redis/src/server.o"), live("srv/redis/src/server.c", layer=1)) == set()
    assert (
        compilers(live("srv/redis/src/server.o", layer=2), live("srv/redis/src/server.c", layer=1)) != set()
    )
    assert compilers(live("srv/probe.o", layer=2)) == set()
    assert compilers(live("usr/lib/x/a.o", layer=2), live("usr/lib/x/a.c", layer=2)) == set()


@pytest.mark.parametrize("program", ["src/server", "src/cmd/bin/server", "server", "usr/local/bin/server"])
def test_a_program_after_a_go_module_is_a_trace(program: str) -> None:
    """In a later layer, and with the size of a program."""
    module = live("src/go.mod", 100, layer=2)
    assert compilers(module, live(program, layer=3)) != set()
    assert compilers(module, live(program, layer=2)) == set()
    assert compilers(module, live(program, 999_999, layer=3)) == set()


@pytest.mark.parametrize(
    "program", ["go/bin/lint", "src/data.bin", "src/.git/x", "opt/server", "usr/lib/server"]
)
def test_other_files_after_a_go_module_are_no_trace(program: str) -> None:
    """What lies elsewhere, or has an ending, or is hidden, may be anything."""
    assert compilers(live("src/go.mod", 100, layer=2), live(program, layer=3)) == set()


@pytest.mark.parametrize(
    "module", ["go/pkg/mod/x@v1/go.mod", "src/vendor/x/go.mod", "usr/local/go/src/go.mod"]
)
def test_modules_that_were_downloaded_are_no_trace(module: str) -> None:
    """Only a program's own sources show that it was built here."""
    assert compilers(live(module, 100, layer=2), live("usr/local/bin/uv", layer=3)) == set()


# --- findings ---------------------------------------------------------------------------------


def test_a_finding_is_one_rule_in_one_layer() -> None:
    """The largest comes first, then by rule and layer; so do its paths."""
    rules = parse_rules(one_rule(name="b") + one_rule(name="a", paths='["*.bak"]'), "mine")
    files = [
        live("x.tmp", 10, 1), live("z.tmp", 30, 1), live("y.tmp", 30, 1), live("b.tmp", 5, 2),
        live("b.bak", 5, 2), live("a.bak", 5, 0), live("c.txt", 99, 0),
    ]  # fmt: skip
    found = find_live(files, [], rules)
    assert [(one.rule, one.layer, one.size) for one in found] == [
        ("b", 1, 70), ("a", 0, 5), ("a", 2, 5), ("b", 2, 5)
    ]  # fmt: skip
    assert found[0] == Finding("b", 70, 1, (b"y.tmp", b"z.tmp", b"x.tmp"), "R.", "M.", Kind.REMOVE)


def test_the_first_rule_that_fits_wins() -> None:
    """A rule whose condition fails leaves the file to the next."""
    rules = parse_rules(one_rule("min-size = 100", name="large") + one_rule(name="any"), "mine")
    found = find_live([live("a.tmp", 100), live("b.tmp", 99)], [], rules)
    assert {one.rule: one.paths for one in found} == {"large": (b"a.tmp",), "any": (b"b.tmp",)}


def test_rules_of_people_come_before_ours() -> None:
    """Where they are given first."""
    mine = parse_rules(one_rule(name="mine", paths='["var/log/special.log"]'), "mine")
    found = findings(["var/log/special.log", "var/log/other.log"], [*mine, *own_rules()])
    assert [(one.rule, one.paths) for one in found] == [
        ("logs", (b"var/log/other.log",)),
        ("mine", (b"var/log/special.log",)),
    ]


def test_empty_files_count_for_nothing() -> None:
    """They take no bytes that deleting them would save."""
    assert find_live([live("var/log/dpkg.log", 0)], [], own_rules()) == []


def test_without_rules_nothing_is_found() -> None:
    """And without files neither."""
    assert findings(["var/log/dpkg.log"], []) == []
    assert findings([]) == []


def test_paths_need_not_be_text() -> None:
    """Bytes that are no UTF-8 are bytes of names like any other."""
    file = LiveFile(b"var/log/\xff\n.log", 1, 512, 0)
    assert find_live([file], [], own_rules())[0].paths == (file.path,)


@pytest.mark.parametrize("seed", range(40))
def test_globs_mean_what_verify_says(seed: int) -> None:
    """However globs are filed, a file is found by those that mean its path."""
    chance = random.Random(seed)
    names = ["a", "b", ".a", "a.b", "a.b.c", ".a.b", "..a", "a.", "core", "core.1", "[x", "ab.log"]
    signs = [
        *names,
        "**",
        "*",
        "*.b",
        "a.*",
        "*.*",
        "?",
        "a.[bc]",
        "*a*",
        ".*",
        r"\*",
        r"a\.b",
        "[!a]",
        "x[.",
        "*.l?g",
    ]
    globs = {"/".join(chance.choices(signs, k=chance.randint(1, 4))) for _ in range(30)}
    paths = sorted({"/".join(chance.choices(names, k=chance.randint(1, 5))) for _ in range(200)})
    for number, glob in enumerate(sorted(globs)):
        pattern = parse_pattern(glob)
        assert isinstance(pattern.paths, re.Pattern)
        expected = [path for path in paths if pattern.paths.search(path)]
        rule = Rule(f"r{number}", (pattern,), "R.", "M.", Kind.REMOVE)
        found = [path.decode() for one in findings(paths, [rule]) for path in one.paths]
        assert found == expected, glob


# --- rules from text --------------------------------------------------------------------------


def test_a_rule_has_what_its_table_says() -> None:
    """Conditions that are not there do not matter."""
    keys = 'except = ["keep.tmp"]\nunless = ["no"]\nmin-size = 7\nbeside = true\nbuilt = true'
    full, plain = parse_rules(one_rule(keys, name="full") + one_rule(name="plain"), "mine")
    assert (full.excepted, full.unless) == ((parse_pattern("keep.tmp"),), (parse_pattern("no"),))
    assert (full.min_size, full.beside, full.built) == (7, True, True)
    assert plain == Rule("plain", (parse_pattern("*.tmp"),), "R.", "M.", Kind.REMOVE)


def test_a_file_may_have_no_rules() -> None:
    """Then nothing is added to ours."""
    assert parse_rules("# none yet\n", "mine") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rule", "my.toml: not TOML: "),
        ("[rules]", "my.toml: unknown key 'rules'; rules are tables [[rule]]"),
        ("rule = 1", "my.toml: rule is no list of tables; write [[rule]]"),
        ("[rule]\nname = 'a'", "my.toml: rule is no list of tables; write [[rule]]"),
        (one_rule("path = []"), "my.toml: rule one: unknown key 'path'; a rule may have name, paths"),
        ("[[rule]]\nname = 'a'", "my.toml: rule a: paths is missing"),
        ("[[rule]]\npaths = ['a']", "my.toml: rule 1: name is missing"),
        (one_rule().replace("remove", "delete"), "my.toml: rule one: unknown kind 'delete'; there are"),
        (one_rule().replace("remove", "chmod"), "my.toml: rule one: unknown kind 'chmod'"),
        (one_rule(paths='["a/[z-a]"]'), "my.toml: rule one: paths: 'a/[z-a]' is no glob"),
        (one_rule(paths='["/"]'), "my.toml: rule one: paths: '/' names nothing"),
        (one_rule(paths=f'["sha256:{"0" * 64}"]'), "my.toml: rule one: paths: sha256:"),
        (one_rule('except = ["a/[z-a]"]'), "my.toml: rule one: except: 'a/[z-a]' is no glob"),
        (one_rule(paths="[]"), "my.toml: rule one: paths must be a list of globs"),
        (one_rule(paths="'a'"), "my.toml: rule one: paths must be a list of globs"),
        (one_rule("min-size = '1 MB'"), "my.toml: rule one: min-size must be a number of bytes"),
        (one_rule("min-size = true"), "my.toml: rule one: min-size must be a number of bytes"),
        (one_rule("beside = 1"), "my.toml: rule one: beside must be true or false"),
        (one_rule(name="a b"), "my.toml: rule 1: name must be a text of letters, digits, dots and hyphens"),
        (one_rule().replace('"R."', '""'), "my.toml: rule one: reason must be a text on one line"),
        (one_rule().replace('"M."', r'"M.\nN."'), "my.toml: rule one: mend must be a text on one line"),
        (one_rule() + one_rule(), "my.toml: rule one: there are two rules of this name"),
    ],
)  # fmt: skip
def test_faults_are_told_in_one_line(text: str, message: str) -> None:
    """With the file, the rule and what is wrong."""
    with pytest.raises(UsageError) as caught:
        parse_rules(text, "my.toml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# --- the page ---------------------------------------------------------------------------------


def test_the_page_is_what_the_rules_say() -> None:
    """docs/waste-rules.md is what docs/rules.py writes."""
    assert script().page() == (DOCS / "waste-rules.md").read_text(encoding="utf-8")


def script() -> ModuleType:
    """docs/rules.py as a module."""
    spec = importlib.util.spec_from_file_location("squashkit_docs_rules", DOCS / "rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_name_outside_spares_a_file() -> None:
    """uv and pnpm link what is installed from their caches: deleting that name would gain nothing."""
    rules = parse_rules(
        """
        [[rule]]
        name = "cache"
        paths = ["cache"]
        reason = "It is."
        mend = "Do."
        kind = "remove"
        """,
        "x",
    )
    inside = LiveFile(b"cache/a", 9, 512, 0, (b"cache/b",))
    outside = LiveFile(b"cache/c", 9, 512, 0, (b"usr/c",))
    (found,) = find_live([inside, outside], set(), rules)
    assert found.paths == (b"cache/a",)
