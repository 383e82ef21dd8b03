"""Seeds that once broke a law, each with what it broke: they run first in every campaign.

A seed is the same scenario only for the code that it was found with. That it runs clean later says little by itself;
the laws that it taught are tests of their own.
"""

SEEDS: dict[int, str] = {
    2564: "D3: an order arrived between the venue's list and the look at what is unknown",
}
