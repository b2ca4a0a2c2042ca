-- A run that somebody has asked for: the fence there was then. Whoever gives back a lease with a greater one was at it.
ALTER TABLE job ADD COLUMN asked INTEGER;
