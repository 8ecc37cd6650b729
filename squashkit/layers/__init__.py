"""One layer, and what a stack of layers makes: tars as records, overlay rules, merging, comparing. Pure."""
