"""Modules for programs that were written for what Andiron succeeds: they have its names, and Andiron's behaviour behind them."""
