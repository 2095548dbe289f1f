"""The Lua side of the sandbox: what scripts see as globals, and the functions that start them.

The chunk below is privileged: it alone sees Lua's real libraries and the Python callables. It is given a table `host`
and fills the table `engine` with the entry points that engine.py calls.

Rules it keeps
- No Python object ever reaches a script: callables are upvalues of Lua functions, and only numbers, strings and booleans cross
  the border. Python never raises through Lua.
- Lua 5.1 has no read-only tables. A library is shown through an empty proxy whose metatable reads from the real table and refuses
  writes; the functions that look at raw tables (next, pairs, rawget, getmetatable ...) know the proxies. The messages are stock's.
- What is written here keeps Lua's own messages: an argument error of a wrapped function names the script's line, as if
  the function were written in C (error level 2).
- The count hook is set on every thread, so that no coroutine escapes the time limit; once killed, a script meets the hook at
  every instruction, so that pcall cannot keep it alive.
"""

SANDBOX = r"""
local host, engine = ...
local byte, sub, find, gsub, format, rep = string.byte, string.sub, string.find, string.gsub, string.format, string.rep
local concat, floor, ceil = table.concat, math.floor, math.ceil
local type, tostring, tonumber, select, error, rawpcall, rawxpcall = type, tostring, tonumber, select, error, pcall, xpcall
local rawnext, rawget, rawset, rawsetmetatable, rawgetmetatable = next, rawget, rawset, setmetatable, getmetatable
local rawinsert, rawcollect, rawloadstring, rawsetfenv = table.insert, collectgarbage, loadstring, setfenv
local getinfo, sethook, dump = debug.getinfo, debug.sethook, string.dump
local HOOK_EVERY = host.hook_every
local HIGH_WATER = host.high_water_kib
local READONLY = 'Attempt to modify a readonly table'

-- argument checks, for functions that a script calls ------------------------------------------------------------------

local function type_name(count, at, value)
  if at > count then return 'no value' end
  return type(value)
end

local function bad_argument(at, name, why)
  error(format("bad argument #%d to '%s' (%s)", at, name, why), 3)
end

local function bad_type(at, name, wanted, count, value)
  error(format("bad argument #%d to '%s' (%s expected, got %s)", at, name, wanted, type_name(count, at, value)), 3)
end

engine.bad_argument, engine.bad_type = bad_argument, bad_type

-- read-only tables ----------------------------------------------------------------------------------------------------

local real_of = {}    -- proxy -> real table
local shown_as = {}   -- real metatable -> what getmetatable shows; false: nothing

local function refuse()
  error(READONLY, 2)
end

local function readonly(real)
  local proxy, guard = {}, { __index = real, __newindex = refuse }
  real_of[proxy] = real
  shown_as[guard] = false
  return rawsetmetatable(proxy, guard), guard
end

engine.readonly = readonly
engine.real_of = real_of

local function missing(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end

local function next_shown(...)
  local t, key = ...
  if type(t) ~= 'table' then bad_type(1, 'next', 'table', select('#', ...), t) end
  return rawnext(real_of[t] or t, key)
end

local function pairs_shown(...)
  local t = ...
  if type(t) ~= 'table' then bad_type(1, 'pairs', 'table', select('#', ...), t) end
  if real_of[t] then return next_shown, t, nil end
  return rawnext, t, nil
end

local function rawget_shown(...)
  local t, key = ...
  local count = select('#', ...)
  if type(t) ~= 'table' then bad_type(1, 'rawget', 'table', count, t) end
  if count < 2 then bad_argument(2, 'rawget', 'value expected') end
  return rawget(real_of[t] or t, key)
end

local function rawset_shown(...)
  local t, key, value = ...
  local count = select('#', ...)
  if type(t) ~= 'table' then bad_type(1, 'rawset', 'table', count, t) end
  if count < 3 then bad_argument(count + 1, 'rawset', 'value expected') end
  if real_of[t] then error(READONLY, 0) end
  return rawset(t, key, value)
end

local function getmetatable_shown(...)
  local value = ...
  if select('#', ...) == 0 then bad_argument(1, 'getmetatable', 'value expected') end
  local found = rawgetmetatable(value)
  local shown = shown_as[found]
  if shown == nil then return found end
  return shown or nil
end

local function setmetatable_shown(...)
  local t, meta = ...
  local count = select('#', ...)
  if type(t) ~= 'table' then bad_type(1, 'setmetatable', 'table', count, t) end
  if count < 2 or (meta ~= nil and type(meta) ~= 'table') then bad_argument(2, 'setmetatable', 'nil or table expected') end
  if real_of[t] then error(READONLY, 0) end
  local before = rawgetmetatable(t)
  if before ~= nil then
    local ok, why = rawpcall(rawsetmetatable, t, meta)
    if not ok then error(why, 2) end
    return t
  end
  if meta ~= nil and real_of[meta] then
    local real = real_of[meta]
    if shown_as[real] == nil then shown_as[real] = meta end
    meta = real
  end
  return rawsetmetatable(t, meta)
end

local function insert_shown(...)
  local t, at = ...
  local count = select('#', ...)
  if type(t) ~= 'table' then bad_type(1, 'insert', 'table', count, t) end
  if count == 3 then
    if type(at) ~= 'number' and not tonumber(at) then bad_type(2, 'insert', 'number', count, at) end
  elseif count ~= 2 then
    error("wrong number of arguments to 'insert'", 2)
  end
  if real_of[t] then error(READONLY, 0) end
  rawinsert(...)
end

local function foreach_shown(...)
  local t, f = ...
  local count = select('#', ...)
  if type(t) ~= 'table' then bad_type(1, 'foreach', 'table', count, t) end
  if type(f) ~= 'function' then bad_type(2, 'foreach', 'function', count, f) end
  for key, value in rawnext, real_of[t] or t do
    local result = f(key, value)
    if result ~= nil then return result end
  end
end

-- time ----------------------------------------------------------------------------------------------------------------

local killed = nil   -- the error that ends the script

local function on_kill()
  error(killed, 0)
end

local function on_count()
  if killed == nil then
    local verdict = host.slow()
    if verdict == false then return end
    killed = { err = verdict }
  end
  sethook(on_kill, '', 1)
  error(killed, 0)
end

local function rearm()
  killed = nil
  sethook(on_count, '', HOOK_EVERY)
end

-- catching errors: pcall shows the text of an error reply, as stock's does -----------------------------------------------

local function caught(ok, ...)
  if ok then return ok, ... end
  local problem = ...
  if type(problem) == 'table' then
    local text = problem.err
    if type(text) == 'string' or type(text) == 'number' then return false, text end
  end
  return false, problem
end

local function pcall_shown(...)
  if select('#', ...) == 0 then return false, 'attempt to call a nil value' end
  return caught(rawpcall(...))
end

local function xpcall_shown(...)
  local f, handler = ...
  if select('#', ...) < 2 then bad_argument(2, 'xpcall', 'value expected') end
  return rawxpcall(f, function(problem)
    if killed ~= nil then return problem end
    return handler(problem)
  end)
end

local function in_thread(f)
  return function(...)
    sethook(on_count, '', HOOK_EVERY)
    return f(...)
  end
end

local function check_body(name, count, f)
  if type(f) ~= 'function' or getinfo(f, 'S').what == 'C' then
    error(format("bad argument #1 to '%s' (Lua function expected)", name), 3)
  end
  if killed ~= nil then error(killed, 0) end
end

local function co_create(...)
  local f = ...
  check_body('create', select('#', ...), f)
  return coroutine.create(in_thread(f))
end

local function co_wrap(...)
  local f = ...
  check_body('wrap', select('#', ...), f)
  return coroutine.wrap(in_thread(f))
end

-- memory: leave room for what crosses the border -----------------------------------------------------------------------

local function make_room()
  rawcollect('collect')
  if rawcollect('count') > HIGH_WATER then error('not enough memory', 0) end
end

local function collectgarbage_shown(...)
  local option = ...
  if option == nil then option = 'collect' end
  if option == 'count' then return rawcollect('count') end
  if option == 'step' then return rawcollect('step', 100) end
  if option == 'collect' then return rawcollect('collect') end
  -- the collector serves all scripts: its settings are not one script's to change
  if option == 'stop' or option == 'restart' then return 0 end
  if option == 'setpause' or option == 'setstepmul' then return 200 end
  if type(option) ~= 'string' then bad_type(1, 'collectgarbage', 'string', 1, option) end
  bad_argument(1, 'collectgarbage', format("invalid option '%s'", option))
end

-- RESP to Lua -----------------------------------------------------------------------------------------------------------

local parse

local function parse_line(data, at)
  local stop = find(data, '\r', at, true)
  return sub(data, at + 1, stop - 1), stop + 2
end

local function parse_items(data, at, count)
  local items, value = {}
  for i = 1, count do
    value, at = parse(data, at)
    items[i] = value
  end
  return items, at
end

function parse(data, at)
  local kind = byte(data, at)
  local text, behind = parse_line(data, at)
  if kind == 36 then                                -- $
    local length = tonumber(text)
    if length < 0 then return false, behind end
    return sub(data, behind, behind + length - 1), behind + length + 2
  elseif kind == 58 then return tonumber(text), behind    -- :
  elseif kind == 43 then return { ok = text }, behind     -- +
  elseif kind == 45 then return { err = text }, behind    -- -
  elseif kind == 42 then                            -- *
    local count = tonumber(text)
    if count < 0 then return false, behind end
    return parse_items(data, behind, count)
  elseif kind == 95 then return nil, behind               -- _
  elseif kind == 35 then return text == 't', behind       -- #
  elseif kind == 44 then                            -- ,
    local value = tonumber(text)
    if value == nil then value = host.float(text) end
    return { double = value }, behind
  elseif kind == 37 then                            -- %
    local map, key, value = {}
    for _ = 1, tonumber(text) do
      key, behind = parse(data, behind)
      value, behind = parse(data, behind)
      if key ~= nil then map[key] = value end
    end
    return { map = map }, behind
  elseif kind == 126 then                           -- ~
    local set, key = {}
    for _ = 1, tonumber(text) do
      key, behind = parse(data, behind)
      if key ~= nil then set[key] = true end
    end
    return { set = set }, behind
  elseif kind == 61 then                            -- =
    local length = tonumber(text)
    local content = sub(data, behind + 4, behind + length - 1)
    return { verbatim_string = { format = sub(data, behind, behind + 2), string = content } }, behind + length + 2
  elseif kind == 40 then return { big_number = text }, behind   -- (
  elseif kind == 62 then return parse_items(data, behind, tonumber(text))   -- >
  end
  error('unknown reply type', 0)
end

-- Lua to RESP -----------------------------------------------------------------------------------------------------------

local resp3_client, resp3_script = false, false
local NULL = '$-1\r\n'
local SLOTS = 7995   -- of stock's Lua stack: an array takes one a level, a map three

local function one_line(text)
  if find(text, '[\r\n]') then return (gsub(text, '[\r\n]', ' ')) end
  return text
end

local encode

local function encode_pairs(map, out, slots, as_set)
  local items, count = {}, 0
  for key, value in rawnext, real_of[map] or map do
    encode(key, items, slots - 3)
    if not as_set then encode(value, items, slots - 3) end
    count = count + 1
  end
  local head
  if as_set then
    head = format(resp3_client and '~%d\r\n' or '*%d\r\n', count)
  elseif resp3_client then
    head = format('%%%d\r\n', count)
  else
    head = format('*%d\r\n', 2 * count)
  end
  out[#out + 1] = head
  out[#out + 1] = concat(items)
end

local function encode_table(t, out, slots)
  t = real_of[t] or t
  local field = rawget(t, 'err')
  if type(field) == 'string' then out[#out + 1] = '-' .. one_line(field) .. '\r\n' return end
  field = rawget(t, 'ok')
  if type(field) == 'string' then out[#out + 1] = '+' .. one_line(field) .. '\r\n' return end
  field = rawget(t, 'double')
  if type(field) == 'number' then
    local text = format('%.17g', field)
    out[#out + 1] = resp3_client and ',' .. text .. '\r\n' or format('$%d\r\n', #text) .. text .. '\r\n'
    return
  end
  field = rawget(t, 'map')
  if type(field) == 'table' then return encode_pairs(field, out, slots, false) end
  field = rawget(t, 'set')
  if type(field) == 'table' then return encode_pairs(field, out, slots, true) end
  field = rawget(t, 'big_number')
  if type(field) == 'string' then
    local text = one_line(field)
    out[#out + 1] = resp3_client and '(' .. text .. '\r\n' or format('$%d\r\n', #text) .. text .. '\r\n'
    return
  end
  field = rawget(t, 'verbatim_string')
  if type(field) == 'table' then
    local text, kind = rawget(field, 'string'), rawget(field, 'format')
    if type(text) == 'string' and type(kind) == 'string' then
      if resp3_client then
        out[#out + 1] = format('=%d\r\n', #text + 4) .. sub(kind .. '   ', 1, 3) .. ':' .. text .. '\r\n'
      else
        out[#out + 1] = format('$%d\r\n', #text) .. text .. '\r\n'
      end
      return
    end
  end
  local at = #out + 1
  out[at] = false
  local count = 0
  while true do
    local value = rawget(t, count + 1)
    if value == nil then break end
    encode(value, out, slots - 1)
    count = count + 1
  end
  out[at] = format('*%d\r\n', count)
end

function encode(value, out, slots)
  local kind = type(value)
  if slots <= 0 then
    out[#out + 1] = '-ERR reached lua stack limit\r\n'
  elseif kind == 'string' then
    out[#out + 1] = format('$%d\r\n', #value) .. value .. '\r\n'
  elseif kind == 'number' then
    out[#out + 1] = format(':%d\r\n', value)
  elseif kind == 'table' then
    encode_table(value, out, slots)
  elseif kind == 'boolean' then
    if resp3_script then
      if resp3_client then out[#out + 1] = value and '#t\r\n' or '#f\r\n'
      else out[#out + 1] = value and ':1\r\n' or ':0\r\n' end
    else
      out[#out + 1] = value and ':1\r\n' or NULL
    end
  else
    out[#out + 1] = NULL
  end
end

local function reply_of(value)
  local kind = type(value)
  if kind == 'number' then return format(':%d\r\n', value) end
  if kind == 'string' then return format('$%d\r\n', #value) .. value .. '\r\n' end
  if kind == 'nil' then return NULL end
  local out = {}
  encode(value, out, SLOTS)
  return concat(out)
end

-- the API -----------------------------------------------------------------------------------------------------------------

local command = host.command

local function no_arguments()
  return { err = 'ERR Please specify at least one argument for this redis lib call' }
end

local function failed(reply)
  return { err = sub(reply, 2, -3), ignore_error_stats_update = true }
end

local function answer(reply)
  if reply == false then error('not enough memory', 0) end
  local kind = byte(reply)
  if kind == 36 then
    local stop = find(reply, '\r', 3, true)
    if byte(reply, 2) == 45 then return false end
    return sub(reply, stop + 2, -3)
  elseif kind == 58 then return tonumber(sub(reply, 2, -3))
  elseif kind == 43 then return { ok = sub(reply, 2, -3) }
  end
  return (parse(reply, 1))
end

local function call(...)
  if rawcollect('count') > HIGH_WATER then make_room() end
  if select('#', ...) == 0 then error(no_arguments(), 0) end
  local reply = command(...)
  if reply and byte(reply) == 45 then error(failed(reply), 0) end
  return answer(reply)
end

local function protected_call(...)
  if rawcollect('count') > HIGH_WATER then make_room() end
  if select('#', ...) == 0 then return no_arguments() end
  local reply = command(...)
  if reply and byte(reply) == 45 then return failed(reply) end
  return answer(reply)
end

local function text_of(value)
  local kind = type(value)
  if kind == 'string' then return value end
  if kind == 'number' then return tostring(value) end
  return ''
end

local api = {
  call = call,
  pcall = protected_call,
  REDIS_VERSION = host.version,
  REDIS_VERSION_NUM = host.version_number,
  LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
  REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
}

function api.error_reply(...)
  local text = ...
  if select('#', ...) ~= 1 or type(text) ~= 'string' then return { err = 'ERR wrong number or type of arguments' } end
  if sub(text, 1, 1) == '-' then text = sub(text, 2)
  elseif not find(text, ' ', 1, true) then text = 'ERR ' .. text end
  return { err = text }
end

function api.status_reply(...)
  local text = ...
  if select('#', ...) ~= 1 or type(text) ~= 'string' then return { err = 'ERR wrong number or type of arguments' } end
  return { ok = text }
end

function api.sha1hex(...)
  if select('#', ...) ~= 1 then error({ err = 'ERR wrong number of arguments' }, 0) end
  return host.sha1(text_of((...)))
end

function api.log(...)
  local count = select('#', ...)
  local level = ...
  if count < 2 then error({ err = 'ERR redis.log() requires two arguments or more.' }, 0) end
  if type(level) ~= 'number' then error({ err = 'ERR First argument must be a number (log level).' }, 0) end
  if level < 0 or level > 3 then error({ err = 'ERR Invalid debug level.' }, 0) end
  local words = { select(2, ...) }
  for i = 1, count - 1 do words[i] = text_of(words[i]) end
  host.log(floor(level), concat(words, ' '))
end

function api.setresp(...)
  if select('#', ...) ~= 1 then error({ err = 'ERR redis.setresp() requires one argument.' }, 0) end
  local version = tonumber((...)) or 0
  if version ~= 2 and version ~= 3 then error({ err = 'ERR RESP version must be 2 or 3.' }, 0) end
  resp3_script = version == 3
  host.setresp(resp3_script)
end

function api.set_repl(...)
  if select('#', ...) ~= 1 then error({ err = 'ERR redis.set_repl() requires two arguments.' }, 0) end
  local mask = tonumber((...)) or 0
  if mask < 0 or mask > 3 then
    error({ err = 'ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.' }, 0)
  end
  host.set_repl(floor(mask))
end

function api.acl_check_cmd(...)
  if select('#', ...) == 0 then error(no_arguments(), 0) end
  local verdict = host.may_run(...)
  if type(verdict) == 'string' then error({ err = verdict }, 0) end
  return verdict
end

local eval_api = {}
for name, value in rawnext, api do eval_api[name] = value end
function eval_api.replicate_commands() return true end
function eval_api.breakpoint() return false end
function eval_api.debug() end

-- libraries -------------------------------------------------------------------------------------------------------------

-- math.random: the 48-bit linear congruence of POSIX lrand48, so that a seed gives the numbers it gives on stock servers
local random_high, random_low = 0x1234AB, 0xCD330E

local function next_random()
  local low = 0xECE66D   -- the multiplier 0x5DEECE66D in two halves of 24 bits
  local product = low * random_low + 11
  local carry = floor(product / 16777216)
  random_high = (low * random_high + 0x5DE * random_low + carry) % 16777216
  random_low = product - carry * 16777216
  local value = floor((random_high * 16777216 + random_low) / 131072)
  return (value % 2147483647) / 2147483647
end

local function to_int32(at, name, count, value)
  local number = tonumber(value)
  if number == nil or type(value) == 'boolean' then
    error(format("bad argument #%d to '%s' (number expected, got %s)", at, name, type_name(count, at, value)), 3)
  end
  number = number < 0 and ceil(number) or floor(number)
  number = number % 4294967296
  if number >= 2147483648 then number = number - 4294967296 end
  return number
end

local function random(...)
  local count = select('#', ...)
  local first, second = ...
  local chance = next_random()
  if count == 0 then return chance end
  if count == 1 then
    local most = to_int32(1, 'random', count, first)
    if most < 1 then bad_argument(1, 'random', 'interval is empty') end
    return floor(chance * most) + 1
  end
  if count == 2 then
    local least = to_int32(1, 'random', count, first)
    local most = to_int32(2, 'random', count, second)
    if least > most then bad_argument(2, 'random', 'interval is empty') end
    return floor(chance * (most - least + 1)) + least
  end
  error('wrong number of arguments', 2)
end

local function randomseed(...)
  local seed = to_int32(1, 'randomseed', select('#', ...), (...)) % 4294967296
  random_high = floor(seed / 256)
  random_low = (seed % 256) * 65536 + 0x330E
end

local function copy(t)
  local twin = {}
  for key, value in rawnext, t do twin[key] = value end
  return twin
end

local function library(t)
  local proxy = readonly(t)
  return proxy
end

local math_shown = copy(math)
math_shown.random, math_shown.randomseed = random, randomseed
local table_shown = copy(table)
table_shown.insert, table_shown.foreach = insert_shown, foreach_shown
local coroutine_shown = copy(coroutine)
coroutine_shown.create, coroutine_shown.wrap = co_create, co_wrap
local string_shown = library(string)

-- strings have one metatable for all: its __index is the real library, shown as a proxy
local string_meta = rawgetmetatable('')
shown_as[string_meta] = library({ __index = string_shown })

local null = newproxy(true)
local null_meta = rawgetmetatable(null)
null_meta.__tostring = function() return 'userdata: (nil)' end
shown_as[null_meta] = false
engine.null = null

local libraries = {
  string = string_shown,
  math = library(math_shown),
  table = library(table_shown),
  coroutine = library(coroutine_shown),
}

function engine.add_library(name, t)
  libraries[name] = library(t)
end

-- globals -----------------------------------------------------------------------------------------------------------------

-- A world is a set of globals: its real table, and the proxy that is the environment of the code in it.
local function world(api_table)
  local real = {}
  local shown, guard = readonly(real)
  local real_meta = { __index = missing }
  rawsetmetatable(real, real_meta)
  shown_as[real_meta] = false
  shown_as[guard] = library({ __index = missing })
  for name, value in rawnext, libraries do real[name] = value end
  for _, name in ipairs({ 'assert', 'error', 'gcinfo', 'ipairs', 'rawequal', 'select', 'tonumber', 'tostring', 'type', 'unpack',
                          '_VERSION' }) do
    real[name] = _G[name]
  end
  real._G = shown
  real.next, real.pairs, real.rawget, real.rawset = next_shown, pairs_shown, rawget_shown, rawset_shown
  real.getmetatable, real.setmetatable = getmetatable_shown, setmetatable_shown
  real.pcall, real.xpcall, real.collectgarbage = pcall_shown, xpcall_shown, collectgarbage_shown
  real.redis = library(api_table)

  local function loaded(chunk, why)
    if chunk then return rawsetfenv(chunk, shown) end
    return nil, why
  end
  function real.loadstring(...)
    local code, name = ...
    local count = select('#', ...)
    if type(code) == 'number' then code = tostring(code) end
    if type(code) ~= 'string' then bad_type(1, 'loadstring', 'string', count, code) end
    if name == nil then name = code end
    if type(name) ~= 'string' then bad_type(2, 'loadstring', 'string', count, name) end
    if byte(code) == 27 then return nil, 'bytecode is not allowed' end
    return loaded(rawloadstring(code, name))
  end
  function real.load(...)
    local reader, name = ...
    local count = select('#', ...)
    if type(reader) ~= 'function' then bad_type(1, 'load', 'function', count, reader) end
    if name == nil then name = '=(load)' end
    if type(name) ~= 'string' then bad_type(2, 'load', 'string', count, name) end
    local pieces = {}
    while true do
      local piece = reader()
      if piece == nil or piece == '' then break end
      if type(piece) ~= 'string' and type(piece) ~= 'number' then error('reader function must return a string', 2) end
      pieces[#pieces + 1] = piece
    end
    local code = concat(pieces)
    if byte(code) == 27 then return nil, 'bytecode is not allowed' end
    return loaded(rawloadstring(code, name))
  end
  return real, shown, guard
end

-- running -----------------------------------------------------------------------------------------------------------------

-- The error with its place: the innermost line of the script itself.
local function on_error(problem)
  if killed ~= nil then sethook() end   -- the way out is ours again
  local level, info = 2
  repeat
    info = getinfo(level, 'Sl')
    level = level + 1
  until info == nil or (info.currentline > 0 and info.source ~= '=sandbox')
  local text = problem
  if type(problem) == 'table' then
    text = problem.err
    if type(text) ~= 'string' and type(text) ~= 'number' then text = 'ERR unknown error' end
    text = tostring(text)
  else
    text = 'ERR ' .. tostring(problem)
  end
  if info then return { text, info.source, info.currentline } end
  return { text }
end

local function outcome(ok, value)
  local reply
  if ok then
    reply = reply_of(value)
    if killed ~= nil then rearm() end
    return reply
  end
  if killed ~= nil then rearm() end
  if type(value) ~= 'table' then return nil, 'ERR ' .. tostring(value) end
  return nil, value[1], value[2], value[3]
end

local function begin(resp3)
  resp3_client, resp3_script = resp3, false
  NULL = resp3 and '_\r\n' or '$-1\r\n'
end

local function split(count, ...)
  local all = { ... }
  if count == 0 then return {}, all end
  local keys, arguments = {}, {}
  local total = select('#', ...)
  for i = 1, count do keys[i] = all[i] end
  for i = count + 1, total do arguments[i - count] = all[i] end
  return keys, arguments
end

function engine.start()
  local eval_real, eval_shown = world(eval_api)
  local function_real, function_shown, function_guard = world(api)
  eval_real.__redis__err__handler = function() end

  function engine.compile(code, name)
    return rawloadstring(code, name)
  end

  function engine.dump(chunk)
    return dump(chunk)
  end

  -- from bytecode that our own compiler made
  function engine.adopt(code, for_functions)
    return rawsetfenv(rawloadstring(code), for_functions and function_shown or eval_shown)
  end

  function engine.eval(chunk, resp3, count, ...)
    begin(resp3)
    eval_real.KEYS, eval_real.ARGV = split(count, ...)
    return outcome(rawxpcall(chunk, on_error))
  end

  function engine.eval_tables(chunk, resp3, keys, arguments)
    begin(resp3)
    eval_real.KEYS, eval_real.ARGV = keys, arguments
    return outcome(rawxpcall(chunk, on_error))
  end

  function engine.fcall(f, resp3, count, ...)
    begin(resp3)
    local keys, arguments = split(count, ...)
    return outcome(rawxpcall(function() return (f(keys, arguments)) end, on_error))
  end

  function engine.fcall_tables(f, resp3, keys, arguments)
    begin(resp3)
    return outcome(rawxpcall(function() return (f(keys, arguments)) end, on_error))
  end

  -- FUNCTION LOAD: while a library's code runs it sees only `redis` with what registers functions
  local registered = nil

  local function complain(text)
    error({ err = 'ERR ' .. text }, 0)
  end

  local function put_function(name, body, description, flags)
    if not find(name, '^[%w_]+$') then
      complain('Library names can only contain letters, numbers, or underscores(_) and must be at least one character long')
    end
    if registered[name] then complain('Function already exists in the library') end
    registered[name] = true
    local n = #registered
    registered[n + 1], registered[n + 2], registered[n + 3], registered[n + 4] = name, body, description or false, flags
  end

  local function named_arguments(t)
    local name, body, description, flags = nil, nil, nil, 0
    for key, value in rawnext, t do
      if key == 'function_name' then
        if type(value) ~= 'string' and type(value) ~= 'number' then
          complain('function_name argument given to redis.register_function must be a string')
        end
        name = tostring(value)
      elseif key == 'description' then
        if type(value) ~= 'string' and type(value) ~= 'number' then
          complain('description argument given to redis.register_function must be a string')
        end
        description = tostring(value)
      elseif key == 'callback' then
        if type(value) ~= 'function' then complain('callback argument given to redis.register_function must be a function') end
        body = value
      elseif key == 'flags' then
        if type(value) ~= 'table' then
          complain('flags argument given to redis.register_function must be a table representing function flags')
        end
        local seen = {}
        for i = 1, #value do
          local flag = type(value[i]) == 'string' and host.flag(value[i]) or 0
          if flag == 0 then complain('unknown flag given') end
          if not seen[flag] then flags = flags + flag end
          seen[flag] = true
        end
      else
        complain('unknown argument given to redis.register_function')
      end
    end
    if name == nil then complain('redis.register_function must get a function name argument') end
    if body == nil then complain('redis.register_function must get a callback argument') end
    return name, body, description, flags
  end

  local load_api = {}
  for _, name in ipairs({ 'log', 'REDIS_VERSION', 'REDIS_VERSION_NUM', 'LOG_DEBUG', 'LOG_VERBOSE', 'LOG_NOTICE', 'LOG_WARNING' }) do
    load_api[name] = api[name]
  end
  function load_api.register_function(...)
    local count = select('#', ...)
    local name, body = ...
    if count < 1 or count > 2 then complain('wrong number of arguments to redis.register_function') end
    if registered == nil then complain('redis.register_function can only be called on FUNCTION LOAD command') end
    if count == 1 then
      if type(name) ~= 'table' then
        complain('calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).')
      end
      put_function(named_arguments(name))
      return
    end
    if type(name) ~= 'string' and type(name) ~= 'number' then
      complain('first argument to redis.register_function must be a string')
    end
    if type(body) ~= 'function' then complain('second argument to redis.register_function must be a function') end
    put_function(tostring(name), body, nil, 0)
  end
  local load_missing = { __index = missing }
  rawsetmetatable(load_api, load_missing)
  shown_as[load_missing] = false
  local load_real = rawsetmetatable({ redis = library(load_api) }, load_missing)

  function engine.load(chunk)
    registered = {}
    function_guard.__index = load_real
    local ok, problem = rawxpcall(chunk, on_error)
    function_guard.__index = function_real
    local made = registered
    registered = nil
    if killed ~= nil then rearm() end
    if not ok then return nil, type(problem) == 'table' and problem[1] or 'ERR ' .. tostring(problem) end
    return made, #made
  end

  function engine.collect()
    rawcollect('collect')
  end

  rearm()
end
"""
