-- managed by plainstack
-- Slots on every db host; roles, grants and the database on the primary only. Safe to run again at any time.
\set VERBOSITY terse
\set SHOW_CONTEXT never
\o /dev/null
set client_min_messages = warning;
set log_min_error_statement = panic;
-- On the first run there is no standby yet that could confirm a commit.
set synchronous_commit = local;

-- A slot that fell too far behind never retains WAL again, even if its reader still finds the WAL that it needs.
-- The reader reconnects at once, so the slot must be dropped in the milliseconds before that.
do $$
declare slot name;
begin
  for slot in select slot_name from pg_replication_slots
    where invalidation_reason is not null and slot_name in ('db2', 'barman')
  loop
    for attempt in 1..1000 loop
      begin
        perform pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = slot and active;
        perform pg_drop_replication_slot(slot);
        exit;
      exception when object_in_use then
        perform pg_sleep(0.002);
      end;
    end loop;
  end loop;
end $$;
-- Slots retain no WAL until they are first used, so every host can have them ready for a failover.
select pg_create_physical_replication_slot(name, false) from unnest(array['db2', 'barman']) name
 where not exists (select from pg_replication_slots where slot_name = name);

select pg_is_in_recovery() as standby \gset
\if :standby
\quit
\endif

begin;
select 'create role replicator' where not exists (select from pg_roles where rolname = 'replicator') \gexec
alter role replicator login inherit nosuperuser nocreatedb nocreaterole nobypassrls connection limit -1
 replication valid until 'infinity'
 password 'SCRAM-SHA-256$4096:i8Vq5qSvigM4nVbsKXu//w==$slEOuDpRJlxEhxS2wrx20xIHk21XlBi4cCrETJPBGkY=:W3PBdd2qkDNrbytU5AG8SWyTUtGw9iozNoiX2OLvhco=';
alter role replicator reset role;
select 'create role rewinder' where not exists (select from pg_roles where rolname = 'rewinder') \gexec
alter role rewinder login inherit nosuperuser nocreatedb nocreaterole nobypassrls connection limit -1
 noreplication valid until 'infinity'
 password 'SCRAM-SHA-256$4096:vKcQh9cbFvsiMMm0/yAr9g==$xHzQpvC3SOQ1iW/61dp9BPCED48rHoHCDVxksErXR1c=:jbiAFAjRtkBDIEQd1zGnkimkAPbdyK6LQoCHjZsMgrI=';
alter role rewinder reset role;
grant execute on function pg_catalog.pg_ls_dir(text, boolean, boolean) to rewinder;
grant execute on function pg_catalog.pg_stat_file(text, boolean) to rewinder;
grant execute on function pg_catalog.pg_read_binary_file(text) to rewinder;
grant execute on function pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) to rewinder;
select 'create role app' where not exists (select from pg_roles where rolname = 'app') \gexec
alter role app nologin inherit nosuperuser nocreatedb nocreaterole nobypassrls connection limit -1
 noreplication valid until 'infinity'
 password null;
alter role app reset role;
select 'create role app_a' where not exists (select from pg_roles where rolname = 'app_a') \gexec
alter role app_a login inherit nosuperuser nocreatedb nocreaterole nobypassrls connection limit -1
 noreplication valid until 'infinity'
 password 'SCRAM-SHA-256$4096:A8Gf+j5K9T+uMqtpFfbmmA==$YI1OR+pylIfWEuvQbEhsTL8cUsVUu8FTfJhuGU7CLDI=:A8L36nQYYjSEmWX35xj5Itl7HGjtCWpfRTyTzGiebAU=';
grant app to app_a;
alter role app_a set role = 'app';
select 'create role app_b' where not exists (select from pg_roles where rolname = 'app_b') \gexec
alter role app_b login inherit nosuperuser nocreatedb nocreaterole nobypassrls connection limit -1
 noreplication valid until 'infinity'
 password null;
grant app to app_b;
alter role app_b set role = 'app';
select 'create role postgres_exporter' where not exists (select from pg_roles where rolname = 'postgres_exporter') \gexec
alter role postgres_exporter login inherit nosuperuser nocreatedb nocreaterole nobypassrls connection limit -1
 noreplication valid until 'infinity'
 password null;
grant pg_monitor to postgres_exporter;
alter role postgres_exporter reset role;
select 'create role barman' where not exists (select from pg_roles where rolname = 'barman') \gexec
alter role barman login inherit nosuperuser nocreatedb nocreaterole nobypassrls connection limit -1
 noreplication valid until 'infinity'
 password 'SCRAM-SHA-256$4096:63q6KsGmpBZwvrsul0h4pg==$i9cQQ3/4k8nQy09RxVOi7Kz9ideFWn9QP/zyJD5mlk8=:gn16OWK6fp+bKwqdQe1yJN09r0Sih2oKT2Zbu9M3Wo8=';
grant pg_read_all_settings to barman;
grant pg_read_all_stats to barman;
grant pg_read_all_data to barman;
grant pg_checkpoint to barman;
alter role barman reset role;
grant execute on function pg_catalog.pg_backup_start(text, boolean) to barman;
grant execute on function pg_catalog.pg_backup_stop(boolean) to barman;
grant execute on function pg_catalog.pg_switch_wal() to barman;
grant execute on function pg_catalog.pg_create_restore_point(text) to barman;
select 'create role streaming_barman' where not exists (select from pg_roles where rolname = 'streaming_barman') \gexec
alter role streaming_barman login inherit nosuperuser nocreatedb nocreaterole nobypassrls connection limit -1
 replication valid until 'infinity'
 password 'SCRAM-SHA-256$4096:Tqbv/2psIKKLgTdu/FZP5g==$uxTy6+RBh92XLOU8R72qyHXmc/GLakTGaR33+nteK+Y=:SGkLStMvstN+NkMyq/Vh5VR8kFZsRKmBjv2MzBTEMAE=';
alter role streaming_barman reset role;
-- An account without a password has been withdrawn, so sessions that still use it must end.
select pg_terminate_backend(pid) from pg_stat_activity join pg_authid on rolname = usename
 where usename in ('app_a', 'app_b') and rolpassword is null;
-- inv verify writes a row here on the primary and looks for it on the standbys.
create schema if not exists plainstack;
create table if not exists plainstack.heartbeat (host text primary key, at timestamptz not null);
create table if not exists plainstack.backup_marker (id uuid primary key, at timestamptz not null default now());
grant usage on schema plainstack to barman;
grant insert on plainstack.backup_marker to barman;
commit;

select 'create database "shop" owner app'
 where not exists (select from pg_database where datname = 'shop') \gexec
alter database "shop" owner to app;
