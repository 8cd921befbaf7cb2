"""What can be booked: event types, their booking rules, and the search for available slots."""
