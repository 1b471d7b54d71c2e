"""What stands below `andiron.compat.kaa_rpc`."""
