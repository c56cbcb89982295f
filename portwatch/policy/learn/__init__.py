"""From binds that were seen to the tightest policy that allows them."""
