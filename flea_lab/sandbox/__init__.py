"""An exchange on your own machine."""
