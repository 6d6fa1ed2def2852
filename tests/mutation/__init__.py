"""`make mutate`: break one guard of the money at a time, and see that a test notices."""
