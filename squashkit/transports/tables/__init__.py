"""A scan's tables: what they hold, how they are written, and how questions are put to them."""
