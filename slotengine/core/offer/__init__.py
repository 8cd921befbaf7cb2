"""What to show: event types and their rules, the search for slots, the grid they start on."""
