"""One spelling of an instrument for all venues: BASE-QUOTE, then -PERP or the day it ends, with an option's rest.

Messages keep the venue's own spelling; this is for putting venues side by side.
"""

import re

_QUOTES = "USDT|USDC|BUSD|FDUSD|TUSD|USD|BTC|XBT|ETH|BNB|EUR|GBP|TRY|DAI"
_PAIR = rf"(?P<base>XBT|[0-9A-Z]+?)(?P<quote>{_QUOTES})"
_OPTION = r"(?P<end>\d{1,2}(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)\d{2})(?P<rest>-[0-9d]+-[CP])?"

_FORMS: dict[str, tuple[str, ...]] = {
    "binance_spot": (_PAIR,),
    "binance_um": (rf"{_PAIR}(?:_(?P<end>\d{{6}}))?(?P<perp>)",),
    "binance_cm": (rf"{_PAIR}_(?:(?P<end>\d{{6}})|PERP)(?P<perp>)",),
    "bitget": (rf"{_PAIR}(?:_SPBL)?", rf"{_PAIR}_(?:UMCBL|DMCBL)(?P<perp>)"),
    "bitmex": (
        r"(?P<base>XBT)(?P<end>[FGHJKMNQUVXZ]\d{2})",
        r"(?P<base>[0-9A-Z]+?)(?P<in_btc>)(?P<end>[FGHJKMNQUVXZ]\d{2})",
        rf"{_PAIR}(?P<perp>)",
    ),
    "bybit_inverse": (rf"{_PAIR}(?P<end>[FGHJKMNQUVXZ]\d{{2}})?(?P<perp>)",),
    "coinbase": (r"(?P<base>\w+)-(?P<quote>\w+)",),
    "deribit": (
        r"(?P<base>[0-9A-Z]+)(?:_(?P<quote>[A-Z]+))?-PERPETUAL(?P<perp>)",
        rf"(?P<base>[0-9A-Z]+)(?:_(?P<quote>[A-Z]+))?-{_OPTION}",
    ),
    "dydx": (r"(?P<base>\w+)-(?P<quote>\w+)(?P<perp>)",),
    "hyperliquid": (r"(?P<base>\w+)/(?P<quote>\w+)", r"(?P<base>\w+)(?P<perp>)"),
    "kraken_futures": (rf"[PF][IFV]_{_PAIR}(?:_(?P<end>\d{{6}}))?(?P<perp>)",),
    "kraken_spot": (r"(?P<base>\w+)/(?P<quote>\w+)",),
    "okx": (r"(?P<base>\w+)-(?P<quote>\w+)(?:-(?:(?P<end>\d{6})(?P<rest>-\d+-[CP])?|SWAP)(?P<perp>))?",),
}
_READ = {venue: tuple([re.compile(form) for form in forms]) for venue, forms in _FORMS.items()}
_MONTHS = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"
_COINS = {"XBT": "BTC", "XDG": "DOGE"}


def normal_symbol(venue: str, symbol: str) -> str:
    """The instrument in one spelling for all venues; the venue's own where it is of no form known here.

    A perpetual without a quote of its own (Deribit, Hyperliquid) is quoted in USD.

    >>> normal_symbol("binance_um", "BTCUSDT"), normal_symbol("kraken_spot", "XBT/CHF")
    ('BTC-USDT-PERP', 'BTC-CHF')
    >>> normal_symbol("deribit", "BTC-24SEP21-8000-P")
    'BTC-USD-210924-8000-P'
    """
    for form in _READ.get(venue, ()):
        match = form.fullmatch(symbol)
        if match:
            return _spelt(match.groupdict())
    return symbol


def _spelt(found: dict[str, str | None]) -> str:
    base = found["base"] or ""
    quote = found.get("quote") or ("BTC" if "in_btc" in found else "USD")
    end = found.get("end")
    tail = f"-{_day(end)}{found.get('rest') or ''}" if end else "-PERP" if found.get("perp") is not None else ""
    return f"{_COINS.get(base, base)}-{_COINS.get(quote, quote)}{tail}"


def _day(end: str) -> str:
    """`24SEP21` as `210924`; anything else as it is."""
    if not re.fullmatch(r"\d{1,2}[A-Z]{3}\d{2}", end):
        return end
    return f"{end[-2:]}{_MONTHS.index(end[-5:-2]) // 3 + 1:02d}{int(end[:-5]):02d}"
