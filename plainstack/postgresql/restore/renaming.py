"""The psql scripts that rename a table or database in a scratch cluster, so that a dump of it has the new name.

Their variables are the fields of one_table.Table and one_table.Database. The last line of output is JSON.
"""

from __future__ import annotations

# The name of a database until it is complete.
UNFINISHED = "plainstack_restoring"

DATABASE = """\
select not exists (select from pg_database where datname = :'name') as missing \\gset
\\if :missing
\\warn there is no such database at that moment
select 1/0;
\\endif
alter database :"name" rename to plainstack_restoring;
select json_build_object('size', pg_database_size('plainstack_restoring'), 'left_out', '[]'::json);
"""

TABLE = """\
select set_config('one.schema', :'schema', false), set_config('one.name', :'name', false),
 set_config('one.into_schema', :'into_schema', false), set_config('one.into', :'into', false) \\gset ignored_
create temporary table left_out (what text);
do $$
declare
    wanted text := format('%I.%I', current_setting('one.schema'), current_setting('one.name'));
    source regclass := to_regclass(wanted);
    old text := current_setting('one.name');
    new text := current_setting('one.into');
    one record;
begin
    if source is null then
        raise exception 'there is no table % at that moment', wanted;
    elsif (select relkind from pg_class where oid = source) = 'p' then
        raise exception '% is partitioned; restore its partitions one by one, or the whole database', wanted;
    elsif (select relkind from pg_class where oid = source) <> 'r' then
        raise exception '% is not a table', wanted;
    end if;
    for one in select conname from pg_constraint where conrelid = source and contype = 'f' loop
        insert into left_out values ('foreign key ' || one.conname);
        execute format('alter table %s drop constraint %I', source, one.conname);
    end loop;
    for one in select tgname from pg_trigger where tgrelid = source and not tgisinternal loop
        insert into left_out values ('trigger ' || one.tgname);
        execute format('drop trigger %I on %s', one.tgname, source);
    end loop;
    for one in select rulename from pg_rewrite where ev_class = source loop
        insert into left_out values ('rule ' || one.rulename);
        execute format('drop rule %I on %s', one.rulename, source);
    end loop;
    for one in select inhparent::regclass as parent, relispartition from pg_inherits join pg_class c on c.oid = inhrelid
     where inhrelid = source loop
        insert into left_out values ('its place below ' || one.parent);
        execute case when one.relispartition then format('alter table %s detach partition %s', one.parent, source)
            else format('alter table %s no inherit %s', source, one.parent) end;
    end loop;
    -- The names of indexes and sequences are those of the living table, so the copy needs others.
    for one in
        select oid, relname, relkind, case when left(relname, length(old)) = old
            then new || substr(relname, length(old) + 1) else new || '_' || relname end as name
        from pg_class where oid in (select indexrelid from pg_index where indrelid = source)
        or relkind = 'S' and oid in (select objid from pg_depend where refobjid = source
         and classid = 'pg_class'::regclass and deptype in ('a', 'i'))
    loop
        if octet_length(one.name) > 63 then
            one.name := left(new, 20) || '_' || md5(one.relname);
        end if;
        execute format('alter %s %s rename to %I', case one.relkind when 'S' then 'sequence' else 'index' end,
            one.oid::regclass, one.name);
    end loop;
    for one in select format('%I.%I', nspname, stxname) as what, stxname from pg_statistic_ext
     join pg_namespace n on n.oid = stxnamespace where stxrelid = source loop
        insert into left_out values ('extended statistics ' || one.stxname);
        execute format('drop statistics %s', one.what);
    end loop;
    execute format('create schema if not exists %I', current_setting('one.into_schema'));
    execute format('drop table if exists %I.%I cascade', current_setting('one.into_schema'), new);
    execute format('alter table %s rename to %I', source, new);
    if current_setting('one.schema') <> current_setting('one.into_schema') then
        execute format('alter table %s set schema %I', source, current_setting('one.into_schema'));
    end if;
end
$$;
select json_build_object(
 'size', pg_total_relation_size(format('%I.%I', :'into_schema', :'into')::regclass),
 'left_out', (select coalesce(json_agg(what), '[]') from left_out));
"""
