"""Raw captures of venues' market data, read into our own messages.

Who the aggressor is (the side that `Trade.side` means), where the venue says it, by venue:

| venue           | field       | whose side it is                      | here                                     |
|-----------------|-------------|---------------------------------------|------------------------------------------|
| binance (all)   | `m`         | true: the buyer was the maker         | true is a sell, false a buy              |
| bitget          | 4th of row  | the taker's                           | as it is                                 |
| bitmex          | `side`      | the taker's (`Buy`, `Sell`)           | as it is                                 |
| bybit_inverse   | `side`      | the taker's (`Buy`, `Sell`)           | as it is                                 |
| coinbase        | `side`      | the MAKER's                           | the other one                            |
| deribit         | `direction` | the taker's                           | as it is                                 |
| dydx            | `side`      | the taker's (`BUY`, `SELL`)           | as it is                                 |
| hyperliquid     | `side`      | the taker's (`B` bid, `A` ask)        | `B` is a buy, `A` a sell                 |
| kraken_futures  | `side`      | the taker's                           | as it is                                 |
| kraken_spot     | 4th of row  | the triggering order's (`b`, `s`)     | `b` is a buy, `s` a sell                 |
| okx             | `side`      | the taker's                           | as it is                                 |

Prints that no order in the book made: Binance futures `X` (INSURANCE_FUND: insurance, ADL: liquidation), BitMEX
`trdType` Liquidation, Deribit and dYdX `liquidation`, Kraken Futures `type` liquidation.
"""

from flea_lab.data.sources.captures.capture import Decoder, Heard, Unreadable, hear, read_capture, recognise
from flea_lab.data.sources.captures.description import Description, describe
from flea_lab.data.sources.captures.frame import BadLine, Frame, read_frames
from flea_lab.data.sources.captures.symbol import normal_symbol

__all__ = [
    "BadLine",
    "Decoder",
    "Description",
    "Frame",
    "Heard",
    "Unreadable",
    "describe",
    "hear",
    "normal_symbol",
    "read_capture",
    "read_frames",
    "recognise",
]
