"""Reads component folders: ``component.json`` to a Component, the folder's content to a Revision.

The manifest has the shape of the real platform's: ``triggers`` and ``actions``, each a name with
the ``main`` file that defines ``process``. What else its manifests have (``version``,
``credentials``, ``envVars``, ``buildType``, ``docsUrl``, a function's ``type``, ``fields``,
``metadata``, ``help``, ...) says nothing about how a step runs here, and is let through. A
``service`` object (one ``main`` file, run as a program beside a flow) is ours.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from runtime.errors import ComponentError
from runtime.model import Component, Function, Revision

MANIFEST = "component.json"
LANGUAGES = ("python", "nodejs")
SERVICE = "service"
"""The name and the kind of the function that a service component has."""

_KINDS = {"triggers": "trigger", "actions": "action"}
_USED_KEYS = ("title", "language", *_KINDS, SERVICE)
_NODEJS_SUFFIXES = (".js", ".cjs", ".mjs")
_ALIKE = 0.8


def load_component(root: Path) -> Component:
    """Read and check a component folder; its name is the folder's.

    Raises ComponentError, naming file and key, when the folder, the manifest or a ``main`` file is
    missing, when the manifest has the wrong shape, when it offers no function at all, or when a
    ``main`` file is no Python.
    """
    manifest = root / MANIFEST
    document = _read(manifest)
    _known_keys(manifest, document)
    title = document.get("title", root.name)
    if not isinstance(title, str):
        raise _wrong(manifest, "title", "must be a string", 'Write it as "title": "..."')
    language = document.get("language")
    if language is not None and language not in LANGUAGES:
        raise _wrong(
            manifest,
            "language",
            f"is {language!r}",
            f"Write one of {', '.join(map(repr, LANGUAGES))}",
        )
    functions: dict[str, Function] = {}
    for function in _functions(manifest, document):
        if function.name in functions:
            raise _wrong(
                manifest,
                function.name,
                "names two functions",
                "Give each function a name of its own",
            )
        functions[function.name] = function
    if not functions:
        raise ComponentError(
            "no functions",
            where=str(manifest),
            remedy='Add "triggers", "actions" or a "service" that name their "main" file',
        )
    for main in sorted({function.main for function in functions.values()}):
        # The real platform's manifests do not say their language.
        if language == "python" or (language is None and not main.endswith(_NODEJS_SUFFIXES)):
            _compiles(root / main)
    return Component(name=root.name, root=root, title=title, functions=functions)


def _compiles(path: Path) -> None:
    # Found here, a mistake ends nothing that has already been started.
    try:
        _compile(path.read_bytes(), path.name)
    except SyntaxError as error:
        raise ComponentError(
            f"not Python: {error.msg}",
            where=f"{path}:{error.lineno}",
            remedy="Correct it; `python3 -m py_compile FILE` shows the place",
        ) from error
    except ValueError as error:
        raise ComponentError(f"not Python: {error}", where=str(path)) from error


@lru_cache(maxsize=32)
def _compile(source: bytes, name: str) -> None:
    # Remembered, since a deploy looks at a folder and then at its copy. A warning has the name.
    compile(source, name, "exec", dont_inherit=True)


def revision(component: Component) -> Revision:
    """Name the folder's content by its SHA-256, in hexadecimal.

    Covers the relative path and the bytes of every file, in order of path; what the interpreter
    leaves behind (``__pycache__``, ``*.pyc``) does not count.
    """
    root = component.root
    paths = sorted(component_files(root))
    return Revision(component, content_digest((path, (root / path).read_bytes()) for path in paths))


def content_digest(files: Iterable[tuple[str, bytes]]) -> str:
    """The hash of relative paths and contents, given in order of path."""
    digest = hashlib.sha256()
    for path, content in files:
        # Lengths keep "ab" + "c" and "a" + "bc" apart.
        digest.update(f"{len(path.encode())} {path} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def component_files(root: Path) -> Iterator[str]:
    """The relative POSIX paths of the files that make up a component, in no particular order."""
    # In place of Path.rglob(), which takes three times as long: each start of a flow looks here.
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        inside = os.path.relpath(folder, root)
        prefix = "" if inside == os.curdir else f"{inside}/"
        for name in names:
            if os.path.splitext(name)[1] != ".pyc" and os.path.isfile(os.path.join(folder, name)):
                yield prefix + name


def _read(manifest: Path) -> Mapping[str, Any]:
    if not manifest.parent.is_dir():
        raise ComponentError(
            "no such component folder",
            where=str(manifest.parent),
            remedy=f"Create it, with a {MANIFEST} and the file that defines process()",
        )
    try:
        text = manifest.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ComponentError(
            f"the folder has no {MANIFEST}",
            where=str(manifest.parent),
            remedy="Add one that names the component's triggers or actions",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ComponentError(
            f"cannot be read: {error}", where=str(manifest), remedy="It must be a UTF-8 file"
        ) from error
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ComponentError(
            f"not JSON: {error.msg}",
            where=f"{manifest}:{error.lineno}",
            remedy=f"Correct it at column {error.colno}",
        ) from error
    except (RecursionError, ValueError) as error:
        raise ComponentError(
            f"not JSON that we can read: {error}",
            where=str(manifest),
            remedy="Write a plain manifest",
        ) from error
    if not isinstance(document, dict):
        raise ComponentError(
            "not a JSON object", where=str(manifest), remedy='Begin it with {"title": ...}'
        )
    return document


def _known_keys(manifest: Path, document: Mapping[str, Any]) -> None:
    # A misspelt "actions" would silently take functions away.
    for key in document:
        if key in _USED_KEYS:
            continue
        if close := difflib.get_close_matches(key, _USED_KEYS, n=1, cutoff=_ALIKE):
            raise _wrong(manifest, key, "is not a key of a manifest", f'Write "{close[0]}"')


def _functions(manifest: Path, document: Mapping[str, Any]) -> Iterator[Function]:
    for section, kind in _KINDS.items():
        entries = document.get(section, {})
        if not isinstance(entries, dict):
            raise _wrong(
                manifest,
                section,
                "must be an object",
                f'Write it as "{section}": {{"name": {{"main": "file.py"}}}}',
            )
        for name, entry in entries.items():
            yield Function(name, kind, _main(manifest, f"{section}.{name}", entry))
    # In the real platform's manifests it is a word, which names a service of the platform itself.
    if not isinstance(document.get(SERVICE, ""), str):
        yield Function(SERVICE, SERVICE, _main(manifest, SERVICE, document[SERVICE]))


def _main(manifest: Path, key: str, entry: object) -> str:
    main = entry.get("main") if isinstance(entry, dict) else None
    if not isinstance(main, str) or not main:
        raise _wrong(
            manifest, f"{key}.main", "is missing", 'Name the file, as in {"main": "file.py"}'
        )
    root = manifest.parent.resolve()
    file = (root / main).resolve()
    if not file.is_relative_to(root):
        raise _wrong(
            manifest, f"{key}.main", f"leaves the component folder: {main!r}", "Name a file in it"
        )
    if not file.is_file():
        raise _wrong(
            manifest,
            f"{key}.main",
            f"names {main!r}, which does not exist",
            f"Add that file to {manifest.parent}, or correct the name",
        )
    return main


def _wrong(manifest: Path, key: str, what: str, remedy: str) -> ComponentError:
    return ComponentError(f"{key} {what}", where=str(manifest), remedy=remedy)
