"""rpm: what its database holds, in which forms, and what packages need of one another."""
