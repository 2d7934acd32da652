"""Whether a YAML text is fit to be loaded: nested and repeated no more than a configuration can be."""

from pathlib import Path

import yaml

MOST_BYTES = 64 * 2**20
MOST_DEPTH = 32
"""Nested lists and mappings; a configuration has five at most."""
MOST_NODES = 10**7
"""Values when every alias is written out: a few lines of aliases can stand for billions."""
MOST_CHARACTERS = 10_000
"""Of a value; a number in base 60 takes the square of its length to understand."""

REFUSED = "it is no file, but a device or a pipe"

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_plain(path: Path) -> str:
    """The text of a file. ValueError where it is larger than any that is meant for people, or has no size;
    OSError where it cannot be read."""
    if path.exists() and not path.is_file():  # a device may have no end, a pipe waits for its other one
        raise ValueError(REFUSED)
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes, {MOST_BYTES:,} at most are read")
    return path.read_text(encoding="utf-8")


def check_plain(text: str) -> None:
    """Raise ValueError, with the reason, where loading could take all memory; yaml.YAMLError for bad syntax.

    Looks at the parser's events one by one, so that nothing of the text is built.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has {len(text):,} characters, {MOST_BYTES:,} at most are read")
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            if len(open_nodes) > MOST_DEPTH:
                raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise ValueError(f"its alias *{event.anchor} stands inside what it stands for")
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > MOST_CHARACTERS:
                raise ValueError(f"a value has {len(event.value):,} characters")
            total += 1
        if total > MOST_NODES:
            raise ValueError(f"it has more than {MOST_NODES:,} values")
