package access

import (
	"net/http"

	"go.uber.org/zap"
)

// paths are those that take less than Operate. A path that is not exactly one of
// them takes Operate, however the server behind reads it.
var paths = map[string]Roles{
	"/healthz": Open, "/readyz": Open, "/ready": Open,
	"/": Read, "/metrics": Read, "/buildinfo": Read,
}

// HTTP guards the operator's endpoints: probes are open, metrics take the role
// read, everything else takes operate.
func (g *Gate) HTTP(next http.Handler) http.Handler {
	if g == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		role, listed := paths[request.URL.Path]
		if !listed {
			role = Operate
		}
		if role == Open {
			next.ServeHTTP(w, request)
			return
		}
		identity, refused := g.policy.Load().identify(request.Header.Values("Authorization"), request.TLS)
		if refused == nil {
			what := request.URL.Path
			if !listed {
				what = "this path"
			}
			refused = permit(identity, role, what)
		}
		if refused == nil {
			next.ServeHTTP(w, request.WithContext(withIdentity(request.Context(), identity)))
			return
		}
		g.denied.WithLabelValues(refused.reason).Inc()
		g.log.Warn("request refused", zap.String("reason", refused.reason), zap.Stringer("caller", identity))
		if refused.unauthenticated {
			w.Header().Set("WWW-Authenticate", `Bearer realm="skerry"`)
			http.Error(w, refused.text, http.StatusUnauthorized)
			return
		}
		http.Error(w, refused.text, http.StatusForbidden)
	})
}
