# managed by plainstack: how Gunicorn runs the service web
wsgi_app = "incidents_site.wsgi:application"
bind = ["192.168.57.15:8000"]
forwarded_allow_ips = "192.168.57.16,192.168.57.17,192.168.57.15"

worker_class = "gthread"
workers = 2
threads = 4
worker_tmp_dir = "/dev/shm"
# Gunicorn says READY before its workers import the application; loaded in the master, READY means loaded,
# and a release that cannot be imported fails the restart at once.
preload_app = True
# Leaks stay small, and the workers do not all go at the same moment.
max_requests = 5000
max_requests_jitter = 1000

# Longer than a balancer keeps an idle connection (60 s): the balancer must be the one that closes it, or it
# sends a request into a connection that is just being closed.
keepalive = 75
timeout = 60
graceful_timeout = 30

# Requests are logged by the balancers.
accesslog = None
errorlog = "-"
control_socket_disable = True
