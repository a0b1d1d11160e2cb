# managed by plainstack: how Gunicorn runs the service web
wsgi_app = "incidents_site.wsgi:application"
bind = ["192.168.57.14:8000"]
forwarded_allow_ips = "192.168.57.16,192.168.57.17,192.168.57.14"

worker_class = "gthread"
workers = 2
threads = 4
worker_tmp_dir = "/dev/shm"
# Gunicorn reports READY before its workers import the application. With the application loaded in the master, a
# release that cannot be imported fails the restart at once.
preload_app = True
# New workers keep leaks small. The jitter keeps workers from being replaced all at once.
max_requests = 5000
max_requests_jitter = 1000

# Longer than a balancer keeps an idle connection (60 s). If Gunicorn closed it first, the balancer might send a
# request into a connection that is being closed.
keepalive = 75
timeout = 60
graceful_timeout = 30

# A balancer passes on lines of up to 32 KB. Over HTTP/2 and HTTP/3, browsers send each cookie by itself, and the
# balancer joins them to a line of up to 128 KB. Gunicorn's largest limit for a request line is 8190; 0 means no limit.
limit_request_line = 0
limit_request_field_size = 131072

# The balancers log the requests.
accesslog = None
errorlog = "-"
control_socket_disable = True
