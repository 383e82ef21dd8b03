"""One way out: orders are handed over in one place, signed in one, and keys unwrapped where they are sent."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.laws.source import ROOT, Module, called, modules, plant

# Who may unwrap a key, and what for.
REVEALED_IN = {
    "secret.py": "it is the one that wraps it",
    "venue/rest.py": "puts it into the header of a request",
    "venue/hyperliquid_signing.py": "signs with it",
    "venue/ccxt_exchange.py": "hands it to ccxt, which signs with it",
    "live/kill_venue.py": "puts it into the header of a cancel",
    "live/secrecy.py": "masks its parts",
    "live/lock.py": "locks by its digest",
    "live/keys.py": "writes the file that holds it",
    "live/alerts_channel.py": "hands the address of a channel to apprise",
}
SIGNED_IN = ("venue/hyperliquid_signing.py",)
SIGNS = ("sign_message", "sign_typed_data", "sign_transaction", "sign_hash", "unsafe_sign_hash", "signHash")

# Who may hand an order to an exchange: the lane that looks for halts. The card deck tries venues out, without a runner.
SENT_IN = ("live/sender.py", "testing/")
EXCHANGES = ("exchange", "_exchange")

ORDERED_IN = ("venue/client.py", "venue/published_exchange.py", "venue/hyperliquid_exchange.py")
"""Who may put a request into the lane of orders of a session: the exchanges."""


def violations(root: Path) -> list[str]:
    return [f"{module.inner}:{line}: {fault}" for module in modules(root) for line, fault in _faults(module)]


def _faults(module: Module) -> Iterator[tuple[int, str]]:
    place = module.inner
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        last, owner = name.rsplit(".", 1)[-1], name.rsplit(".", 2)[-2] if "." in name else ""
        if last == "reveal" and place not in REVEALED_IN:
            yield node.lineno, "unwraps a key, and nobody has said why"
        if last in SIGNS and place not in SIGNED_IN:
            yield node.lineno, f"{last}() signs beside {SIGNED_IN[0]}"
        if last == "send" and owner in EXCHANGES and not place.startswith(SENT_IN):
            yield node.lineno, f"{name}() hands an order over beside {SENT_IN[0]}"
        if last == "once" and place not in ORDERED_IN and any(_is(arg, "order") for arg in node.args):
            yield node.lineno, f"{name}() sends in the lane of orders"


def _is(node: ast.expr, text: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == text


def test_orders_leave_in_one_place_and_keys_where_they_are_sent() -> None:
    assert violations(ROOT) == []


def test_the_law_sees_the_lanes() -> None:
    sender = (ROOT / "flea_lab" / "live" / "sender.py").read_text(encoding="utf-8")
    assert sender.count("self._exchange.send(order)") == 1, "one call for orders"
    assert "blocked" in sender


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("live/runner.py", "async def f(self, o):\n    await self._exchange.send(o)\n", "hands an order over beside"),
        ("live/desk.py", "async def f(exchange, o):\n    await exchange.send(o)\n", "hands an order over beside"),
        ("live/alerts.py", "def f(key):\n    return key.reveal()\n", "unwraps a key"),
        ("venue/client.py", "def f(tool, m, k):\n    return tool.sign_message(m, k)\n", "signs beside"),
        ("live/kill.py", "async def f(rest):\n    await rest.once('POST', '/orders', 'order')\n", "lane of orders"),
    ],
)
def test_a_second_way_out_is_found(tmp_path: Path, path: str, text: str, fault: str) -> None:
    [found] = violations(plant(tmp_path, {f"flea_lab/{path}": text}))
    assert fault in found
