"""Lua, third part of the sandbox: redis.* as scripts see it.

Source: https://redis.io/docs/latest/develop/interact/programmability/lua-api/
"""

API = r"""-- the API -------------------------------------------------------------------------------------------------

local plain_command, command_of_many = host.command, host.command_of_many

-- Of many arguments the stack of C, on which they go to the host, could not hold all.
local function command(...)
  local count = select('#', ...)
  if count < 7000 then return plain_command(...) end
  return command_of_many({ ... }, count)
end

local sha1, log, may_run = roomy(host.sha1), roomy(host.log), roomy(host.may_run)

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
  text = error_text(text)
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
  return sha1(text_of((...)))
end

function api.log(...)
  local count = select('#', ...)
  local level = ...
  if count < 2 then error({ err = 'ERR redis.log() requires two arguments or more.' }, 0) end
  level = tonumber(level)
  if level == nil then error({ err = 'ERR First argument must be a number (log level).' }, 0) end
  if not (level > -1 and level < 4) then error({ err = 'ERR Invalid debug level.' }, 0) end
  local words = { select(2, ...) }
  for i = 1, count - 1 do words[i] = text_of(words[i]) end
  log(level < 0 and 0 or floor(level), concat(words, ' '))
end

function api.setresp(...)
  if select('#', ...) ~= 1 then error({ err = 'ERR redis.setresp() requires one argument.' }, 0) end
  local version = tonumber((...)) or 0
  if not (version >= 2 and version < 4) then error({ err = 'ERR RESP version must be 2 or 3.' }, 0) end
  resp3_script = version >= 3
  host.setresp(resp3_script)
end

function api.set_repl(...)
  if select('#', ...) ~= 1 then error({ err = 'ERR redis.set_repl() requires two arguments.' }, 0) end
  local mask = tonumber((...)) or 0
  if not (mask > -1 and mask < 4) then
    error({ err = 'ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.' }, 0)
  end
  host.set_repl(mask < 0 and 0 or floor(mask))
end

function api.acl_check_cmd(...)
  if select('#', ...) == 0 then error(no_arguments(), 0) end
  local verdict = may_run(...)
  if type(verdict) == 'string' then error({ err = verdict }, 0) end
  return verdict
end

local eval_api = {}
for name, value in rawnext, api do eval_api[name] = value end
function eval_api.replicate_commands() return true end
function eval_api.breakpoint() return false end
function eval_api.debug() end

-- libraries ---------------------------------------------------------------------------------------------------------

-- math.random: the 48-bit linear congruence of POSIX lrand48: a seed gives the numbers that it gives on stock servers
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
  return int32(number)
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
    return floor(chance * int32(most - least + 1)) + least   -- stock's width is an int, and overflows as one
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
string.find, string.match, string.gmatch, string.gfind = find_shown, match_shown, gmatch_shown, gmatch_shown
string.gsub, string.rep = gsub_shown, rep_shown
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

"""
