package objectstest

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strconv"
	"sync"
	"testing"
)

// Fault is what a request meets on its way. The zero fault is none.
type Fault struct {
	// Status is answered instead of asking the server.
	Status int
	// Hang answers nothing until the client gives up.
	Hang bool
	// Lost lets the server do it, and loses its answer.
	Lost bool
	// Cut sends half of the answer's content, and ends the connection.
	Cut bool
	// Meanwhile is done before the server is asked.
	Meanwhile func()
}

// Faults is a proxy in front of a server that is not to be relied on.
type Faults struct {
	// Endpoint is HOST:PORT.
	Endpoint string

	mu       sync.Mutex
	decide   func(*http.Request) Fault
	requests []string
}

// Between starts a proxy in front of a server. It lets everything through until
// Inject.
func Between(t testing.TB, server *Server) *Faults {
	t.Helper()
	f := &Faults{decide: func(*http.Request) Fault { return Fault{} }}
	proxy := &httputil.ReverseProxy{
		// The host is signed: it stays.
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", server.Endpoint, r.In.Host
		},
		ModifyResponse: func(response *http.Response) error {
			if fault, _ := response.Request.Context().Value(faultKey{}).(Fault); fault.Cut {
				return cut(response)
			}
			return nil
		},
		ErrorLog:     log.New(io.Discard, "", 0),
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	listener := httptest.NewServer(f.handler(proxy))
	t.Cleanup(listener.Close)
	f.Endpoint = listener.Listener.Addr().String()
	return f
}

// Inject asks for the fault of each request from now on, one request at a time,
// and forgets the requests so far.
func (f *Faults) Inject(decide func(*http.Request) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.decide, f.requests = decide, nil
}

// Requests returns method and path of the requests since the last Inject.
func (f *Faults) Requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.requests...)
}

func (f *Faults) fault(r *http.Request) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r.Method+" "+r.URL.Path)
	return f.decide(r)
}

type faultKey struct{}

func (f *Faults) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault := f.fault(r)
		if fault.Meanwhile != nil {
			fault.Meanwhile()
		}
		switch {
		case fault.Hang:
			_, _ = io.Copy(io.Discard, r.Body) // what was not read hides that the client went away
			<-r.Context().Done()
		case fault.Status != 0:
			w.WriteHeader(fault.Status)
		case fault.Lost:
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		default:
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), faultKey{}, fault)))
		}
	})
}

// cut leaves half of the content, of which all is announced.
func cut(response *http.Response) error {
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	response.Header.Set("Content-Length", strconv.Itoa(len(content)))
	response.Body = io.NopCloser(io.MultiReader(bytes.NewReader(content[:len(content)/2]), broken{}))
	return nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
