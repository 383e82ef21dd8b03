"""The research market as what a sandbox plays: the same bars, ticks and settlements."""

from flea_lab.backtest.market import Market
from flea_lab.sandbox.play import Playlist


def playlist_of(market: Market) -> Playlist:
    """`market` as a playlist; arrays are shared, not copied."""
    return Playlist(
        symbols=market.symbols,
        interval_ms=market.interval_ms,
        grids=market.grids,
        open_ms=market.open_ms,
        bars=market.bars,
        open_ticks=market.open_ticks,
        close_ticks=market.close_ticks,
        fund_at=market.fund_at,
        fund_row=market.fund_row,
        fund_rate=market.fund_rate,
        fund_ms=market.fund_ms,
    )
