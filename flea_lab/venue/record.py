"""What a venue's record of an order says, as the report that the core hears."""

from flea_lab.model.trading import Accepted, Cancelled, Expired, Filled, OrderReport, Rejected
from flea_lab.venue.protocol import OrderState


def told(state: OrderState) -> OrderReport:
    """What the venue's record of an order says."""
    name, ts = state.client_order_id, state.ts_event
    match state.status:
        case "open":
            return Accepted(client_order_id=name, ts_event=ts)
        case "cancelled":
            return Cancelled(client_order_id=name, ts_event=ts, filled_lots=state.filled_lots)
        case "expired":
            return Expired(client_order_id=name, ts_event=ts, filled_lots=state.filled_lots)
        case "rejected":
            return Rejected(client_order_id=name, ts_event=ts, reason=state.reason)
    return Filled(client_order_id=name, ts_event=ts)
