"""The directive `automodules`: every public module of a package, under a heading of its own.

    ```{automodules} bellrelay.wire
    ```

Its argument is a package, or a module alone. What a module lists in ``__all__`` is what is shown,
or what it defines, where it has none. The option ``only`` names modules of the package. What the
package itself says comes first.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class AutoModules(SphinxDirective):
    """See the module."""

    required_arguments = 1
    option_spec = {"only": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """Parse the headings and automodule directives as if they stood in the page."""
        only = self.options.get("only", "").split()
        names = [
            name
            for name in public_modules(self.arguments[0])
            if not only or name.rpartition(".")[2] in only
        ]
        missing = set(only) - {name.rpartition(".")[2] for name in names}
        if missing:
            raise self.error(f"{self.arguments[0]} has no module {', '.join(sorted(missing))}")
        head = [] if names == self.arguments else [_automodule(self.arguments[0], "no-members")]
        text = "\n".join(head + [f"## `{name}`\n\n{_automodule(name)}" for name in names])
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def public_modules(name: str) -> list[str]:
    """Modules of a package without those whose name begins with an underscore; or one module.

    Subpackages are pages of their own.
    """
    module = import_module(name)
    inside = [
        f"{name}.{found.name}"
        for found in pkgutil.iter_modules(getattr(module, "__path__", []))
        if not found.name.startswith("_") and not found.ispkg
    ]
    return inside or [name]


def _automodule(name: str, option: str = "members") -> str:
    return f"```{{eval-rst}}\n.. automodule:: {name}\n   :{option}:\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive; Sphinx calls this."""
    app.add_directive("automodules", AutoModules)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
