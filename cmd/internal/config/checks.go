package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

func filled(v *string) func() error {
	return func() error {
		if strings.TrimSpace(*v) == "" {
			return errors.New("must not be empty")
		}
		return nil
	}
}

func oneOf(v *string, among ...string) func() error {
	return func() error {
		if !slices.Contains(among, *v) {
			return fmt.Errorf("want one of %s", strings.Join(among, ", "))
		}
		return nil
	}
}

func between[T cmp.Ordered](v *T, low, high T) func() error {
	return func() error {
		if *v < low || *v > high {
			return fmt.Errorf("want %s to %s", readable(low), readable(high))
		}
		return nil
	}
}

// noneOrBetween also accepts 0, which switches off.
func noneOrBetween(v *time.Duration, low, high time.Duration) func() error {
	return func() error {
		if *v != 0 && between(v, low, high)() != nil {
			return fmt.Errorf("want 0s, or %s to %s", low, high)
		}
		return nil
	}
}

// readable writes a bound as its setting would be written.
func readable(bound any) string {
	if n, ok := bound.(int64); ok {
		return formatBytes(n)
	}
	return fmt.Sprint(bound)
}

func wholeMilliseconds(v *time.Duration, high time.Duration) func() error {
	return func() error {
		if *v%time.Millisecond != 0 {
			return errors.New("want whole milliseconds")
		}
		return between(v, time.Millisecond, high)()
	}
}

// listenAddress checks an address that only this process uses: the host may be
// missing (all interfaces), the port may be 0 (any free one).
func listenAddress(v *string) func() error {
	return func() error {
		_, _, err := splitAddress(*v)
		return err
	}
}

// optional accepts what is empty without a look.
func optional(v *string, check func(*string) func() error) func() error {
	return func() error {
		if *v == "" {
			return nil
		}
		return check(v)()
	}
}

// both demands two things, the first one first.
func both(first, second func() error) func() error {
	return func() error {
		if err := first(); err != nil {
			return err
		}
		return second()
	}
}

// reachable demands that others can dial an address that is listened on, unless
// they are told another one.
func reachable(v, advertised *string, instead string) func() error {
	return func() error {
		host, _, err := splitAddress(*v)
		if err != nil || *advertised != "" {
			return err
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			return fmt.Errorf("this means all addresses of the machine: say with %s which one others dial", instead)
		}
		return nil
	}
}

func ipAddress(v *string) func() error {
	return func() error {
		if ip := net.ParseIP(*v); ip == nil || ip.IsUnspecified() {
			return errors.New("want an IP address of this machine")
		}
		return nil
	}
}

// dialled checks an address that this process dials.
func dialled(address string) error {
	if err := dialAddress(&address)(); err != nil {
		return fmt.Errorf("%q: want HOST:PORT of a node, as it is given to -node.address there", address)
	}
	return nil
}

// addressesMax bounds a list of nodes to begin with.
const addressesMax = 1000

func eachDialled(v *[]string) func() error {
	return func() error {
		if len(*v) > addressesMax {
			return fmt.Errorf("want at most %d addresses", addressesMax)
		}
		for i, address := range *v {
			if err := dialled(address); err != nil {
				return err
			}
			if slices.Contains((*v)[:i], address) {
				return fmt.Errorf("%q is there twice", address)
			}
		}
		return nil
	}
}

func filledList(v *[]string) func() error {
	return func() error {
		if len(*v) == 0 {
			return errors.New("want the address of one node at least")
		}
		return nil
	}
}

// zoneName keeps names short and printable: they are in every map.
func zoneName(v *string) func() error {
	return func() error {
		if len(*v) > 64 || strings.ContainsFunc(*v, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return errors.New("want up to 64 printable ASCII characters without spaces")
		}
		return nil
	}
}

// dialAddress checks an address that others are told.
func dialAddress(v *string) func() error {
	return func() error {
		host, port, err := splitAddress(*v)
		if err != nil {
			return err
		}
		if host == "" || port == 0 {
			return errors.New("want a host and a port that other nodes can dial")
		}
		return nil
	}
}

func splitAddress(address string) (host string, port uint64, err error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, errors.New("want HOST:PORT")
	}
	port, err = strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", 0, errors.New("want a port from 0 to 65535")
	}
	return host, port, nil
}

// OnLoopback tells whether an address leads to the machine that dials it.
func OnLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// distinctAddresses refuses an address that two settings share; any free port
// never clashes.
func distinctAddresses(addresses map[string]string) []error {
	owners := map[string][]string{}
	for name, address := range addresses {
		if _, port, err := splitAddress(address); err == nil && port != 0 {
			owners[address] = append(owners[address], name)
		}
	}
	var faults []error
	for address, names := range owners {
		if len(names) > 1 {
			slices.Sort(names)
			faults = append(faults, fmt.Errorf("%s are all %q: give each its own port", strings.Join(names, " and "), address))
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return faults
}
