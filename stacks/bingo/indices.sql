-- The program only reads these tables once they are complete, and building an index does not stop readers.
create index if not exists customers_id on customers (id);
create index if not exists sessions_id on sessions (id);
