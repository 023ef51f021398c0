"""The forms that templates have, and how a manifest becomes one.

``{{ path | function … }}`` stands in the place of a value, ``{{- if path }}`` …
``{{- end }}`` around lines, with ``not``, ``and`` or ``or`` before paths, and
``{{- range $key, $value := path }}`` … ``{{- end }}`` around one.  Values are put in as
JSON, which is YAML, so that no indentation is counted.

Until a document is written its forms stand in marks, ``«…»``, that YAML leaves alone.
"""

import re
from typing import Any, Final

import yaml

HEAD: Final = "# Made from deploy/k8s by `make helm`, where the reasons stand.\n"
#: A key that is there on a condition, with all that is below it.
_CONDITIONAL: Final = re.compile(
    r"^( *)«\?([^»]*)»([^\n]*\n(?:\1(?: |- )[^\n]*\n)*)", re.MULTILINE
)
_ITEMS: Final = re.compile(r"^( *)- «\*([^»]*)»\n", re.MULTILINE)
_ENTRIES: Final = re.compile(r"^( *)«\*([^»]*)»: null\n", re.MULTILINE)


class Literal(str):
    """Text that has braces of its own: Prometheus fills them in, and not Helm."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes no anchors, and literals in quotes."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the given signature
        """Return that nothing is an alias."""
        return True


_Dumper.add_representer(
    Literal,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", str(text), style="'"
    ),
)


def value(path: str) -> str:
    """Return what stands for the value at *path*, whatever it is."""
    return f"«toJson .Values.{path}»"


def only_if(condition: str, key: str) -> str:
    """Return *key* as one that is there only if *condition* holds."""
    return f"«?{condition}»{key}"


def each(path: str) -> str:
    """Return what stands for each item of a list or, as a key, each entry of a map."""
    return f"«*.Values.{path}»"


def escaped(node: Any) -> Any:
    """Return *node* with the braces of others kept from Helm."""
    if isinstance(node, dict):
        return {key: escaped(part) for key, part in node.items()}
    if isinstance(node, list):
        return [escaped(part) for part in node]
    if isinstance(node, str) and "{{" in node:
        return Literal(re.sub(r"\{\{|\}\}", lambda brace: f'«"{brace[0]}"»', node))
    return node


def written(document: Any) -> str:
    """Return *document* as a part of a template."""
    text = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6
    )
    over = r"\1{{- range $key, $value := \2 }}" + "\n"
    end = r"\1{{- end }}" + "\n"
    text = _ITEMS.sub(over + r"\1- «toJson $value»" + "\n" + end, text)
    text = _ENTRIES.sub(over + r"\1«toJson $key»: «toJson $value»" + "\n" + end, text)
    text = _CONDITIONAL.sub(r"\1{{- if \2 }}" + "\n" + r"\1\3" + end, text)
    return re.sub(r"«([^»]*)»", r"{{ \1 }}", text)


def template(*parts: tuple[str | None, Any]) -> str:
    """Return a template of documents, each with what it is there for, or None."""
    told = []
    for condition, document in parts:
        text = "---\n" + written(document)
        if condition is not None:
            text = f"{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n"
        told.append(text)
    return HEAD + "".join(told)
