"""Raw captures of venues' market data, read into our own messages."""

from flea_lab.data.sources.captures.capture import Decoder, Heard, Unreadable, hear, read_capture, recognise

__all__ = ["Decoder", "Heard", "Unreadable", "hear", "read_capture", "recognise"]
