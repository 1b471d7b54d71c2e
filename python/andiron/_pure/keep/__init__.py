"""The small store of a server where no daemon can run: what is called is in `wire`, what is kept in `store`, and what outlives the server in `disk`."""
