"""Who may import whom (ARCHITECTURE.md), read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import portwatch

PACKAGE = Path(portwatch.__file__).parent
ALLOWED = {
    "errors": set(),
    "digest": set(),
    "policy": {"errors", "digest"},
    "kernel": {"errors", "digest"},
    "node": {"errors"},
    "agent": {"errors", "digest", "policy", "kernel", "node"},
    "cli": {"errors", "policy", "kernel", "node", "agent"},
}
ONE_PLACE = {
    "bcc": {"kernel/compiler.py"},
    "yaml": {"policy/source/document.py"},
    "msgspec": {
        "policy/source/schema.py",
        "policy/catalog/shape.py",
        "policy/cases/shape.py",
        "policy/source/misfits.py",
        "agent/web/config/shape.py",
        "agent/web/config/file.py",
        "agent/kubernetes/shape.py",
        "node/kubernetes/shapes.py",
    },
    "h11": {"agent/web/connection.py", "node/kubernetes/connection.py"},
    "bcrypt": {"agent/web/basic_auth.py"},
    "prometheus_client": {"agent/metrics/families.py"},
    "h2": {"node/engines/grpc_channel.py"},
    "inotify_simple": {"agent/path_watch.py"},
    "rich": {"cli/tables.py", "cli/screen/paint.py"},
}


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules() -> list[Path]:
    """Every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def layer_of(dotted: str) -> str | None:
    """The layer of a module of ours; None for others and for the package itself."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "portwatch" and len(parts) > 1 and parts[1] in ALLOWED else None


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_layers(path: Path) -> None:
    """cli → agent → {kernel, node, policy} → errors, and the three know nothing of each other."""
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    used = {layer for name in imports(path) if (layer := layer_of(name)) and layer != own}
    assert used <= ALLOWED[own]


@pytest.mark.parametrize("package", ONE_PLACE)
def test_third_parties_are_imported_in_one_place(package: str) -> None:
    """Each third-party package has one place where it can be replaced."""
    users = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        if any(name.split(".")[0] == package for name in imports(path))
    }
    assert users
    assert users <= ONE_PLACE[package]


def test_only_the_cli_prints() -> None:
    """Library code neither prints nor exits; the loader and errands talk to their parent."""
    talkers = {"kernel/loader.py", "node/errand.py"}
    for path in modules():
        name = str(path.relative_to(PACKAGE))
        if name.startswith("cli/") or name in talkers:
            continue
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"print", "exit", "quit"}, name


@pytest.mark.parametrize("module", ["portwatch.cli.main", "portwatch.cli.run", "portwatch.agent"])
def test_no_table_no_rich(module: str) -> None:
    """Only what shows a table on a terminal pays for `rich`: no `--help`, and not the agent."""
    code = f"import sys, {module}, portwatch.cli.tables, portwatch.cli.verdict_style; "
    code += "sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_imports_no_command() -> None:
    """`--help` pays for nothing but click and the table of commands."""
    code = "import sys; from portwatch.cli import main; main._run(['--help']); "
    code += "print(*(n for n in sys.modules if n.startswith('portwatch')), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stderr.split()) == {
        *("portwatch", "portwatch.cli", "portwatch.cli.main", "portwatch.errors")
    }
