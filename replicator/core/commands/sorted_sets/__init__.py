"""Commands on sorted sets, geographic ones among them."""
