"""The vehicle: a trip, what it keeps in memory, and the flush that stores it."""
