"""What Barman 3.13.3 wrote on Debian 13 hosts, shortened."""

INFO = """\
backup_label='START WAL LOCATION: 0/3000028\\nCHECKPOINT LOCATION: 0/3000080\\n'
begin_time=2026-11-22 01:07:27.664444+00:00
begin_wal=000000010000000000000003
begin_xlog=0/3000028
children_backup_ids=None
cluster_size=32487528
copy_stats={'copy_time': 0.656179, 'total_time': 0.656179}
deduplicated_size=32160780
end_time=2026-11-22 01:07:28.337458+00:00
end_wal=000000010000000000000004
end_xlog=0/4000000
error=None
mode=postgres
parent_backup_id=None
size=32160780
status=DONE
tablespaces=None
timeline=1
xlog_segment_size=16777216
"""
