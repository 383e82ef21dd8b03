"""What signs an action for Hyperliquid: the hash is made here, the curve and the structured data are ccxt's."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from flea_lab.errors import ConfigError
from flea_lab.secret import Secret

Sign = Callable[[Mapping[str, Any], int, int | None], Mapping[str, Any]]
"""The signature of an action, its nonce (ms) and the time after which it is void (ms)."""

AGENT = [{"name": "source", "type": "string"}, {"name": "connectionId", "type": "bytes32"}]
PRIVATE = re.compile(r"(0x)?[0-9a-fA-F]{64}")
DOMAIN = {
    "chainId": 1337,
    "name": "Exchange",
    "verifyingContract": "0x0000000000000000000000000000000000000000",
    "version": "1",
}


def signer(key: Secret, *, testnet: bool = False) -> Sign:
    """What signs with `key`, the private key of an API wallet. `ConfigError` without the extra `venues`.

    The key is revealed at each signature and kept nowhere.
    """
    try:
        import ccxt
    except ImportError:
        raise ConfigError("orders at Hyperliquid need the extra `venues`: pip install 'flea-lab[venues]'") from None
    if not PRIVATE.fullmatch(key.reveal()):
        raise ConfigError("the key cannot sign: an API wallet's private key is 0x and 64 hex digits")
    tool = ccxt.hyperliquid()

    def sign(action: Mapping[str, Any], nonce: int, void_ms: int | None) -> Mapping[str, Any]:
        digest = tool.hash(packed(action, nonce, void_ms), "keccak", "binary")
        agent = tool.construct_phantom_agent(digest, testnet)
        message = tool.eth_encode_structured_data(DOMAIN, {"Agent": AGENT}, agent)
        signed: Mapping[str, Any] = tool.sign_message(message, key.reveal())
        return signed

    return sign


def packed(action: Mapping[str, Any], nonce: int, void_ms: int | None) -> bytes:
    """The bytes of an action that are hashed: its fields in their order, its nonce, no vault, and its end.

    >>> packed({"type": "scheduleCancel"}, 1, None).hex()
    '81a474797065ae7363686564756c6543616e63656c000000000000000100'
    """
    end = b"" if void_ms is None else b"\x00" + void_ms.to_bytes(8, "big")
    return msgspec.msgpack.encode(dict(action)) + nonce.to_bytes(8, "big") + b"\x00" + end
