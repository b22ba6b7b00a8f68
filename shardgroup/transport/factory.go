package transport

import (
	"net"
	"strconv"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Factory makes a node's transport: set it as Expert.TransportFactory of
// dragonboat's NodeHostConfig. It implements config.TransportFactory.
type Factory struct {
	options    Options
	log        *zap.Logger
	registerer prometheus.Registerer
	timeouts   timeouts
}

var _ config.TransportFactory = (*Factory)(nil)

// NewFactory checks the settings. A transport registers its metrics when it
// starts and gives them back when it is closed.
func NewFactory(options Options, log *zap.Logger, registerer prometheus.Registerer) (*Factory, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	return &Factory{options: options.withDefaults(), log: quiet(log), registerer: registerer, timeouts: defaultTimeouts}, nil
}

// quiet bounds the lines that strangers can cause: ten of each kind in a minute.
func quiet(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 10, 0)
	}))
}

// Create implements config.TransportFactory. The transport does nothing until
// dragonboat starts it.
func (f *Factory) Create(host config.NodeHostConfig, messages raftio.MessageHandler, chunks raftio.ChunkHandler) raftio.ITransport {
	return f.create(host, messages, chunks)
}

func (f *Factory) create(host config.NodeHostConfig, messages raftio.MessageHandler, chunks raftio.ChunkHandler) *Transport {
	listen := f.options.ListenAddress
	if listen == "" {
		listen = host.GetListenAddress()
	}
	return newTransport(f, listen, hello{deployment: host.GetDeploymentID(), address: host.RaftAddress}, messages, chunks)
}

// Validate implements config.TransportFactory: an address is HOST:PORT, where
// the host may be a name or an IP address, version 6 in brackets.
func (f *Factory) Validate(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || len(address) > addressBytesMax {
		return false
	}
	number, err := strconv.ParseUint(port, 10, 16)
	return err == nil && number > 0
}
